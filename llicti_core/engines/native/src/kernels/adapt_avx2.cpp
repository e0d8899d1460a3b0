// The search's kernels, compiled for avx2.
#include "adapt.inc"

namespace llicti::fitting {

const FitKernels kAvx2Fit = {"avx2", look, see, cache, evaluate, step};

}  // namespace llicti::fitting
