// The search's kernels, compiled for avx512.
#include "adapt.inc"

namespace llicti::fitting {

const FitKernels kAvx512Fit = {"avx512", look, see, cache, evaluate, step};

}  // namespace llicti::fitting
