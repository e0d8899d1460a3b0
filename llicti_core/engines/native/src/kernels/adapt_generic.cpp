// The search's kernels, compiled for generic.
#include "adapt.inc"

namespace llicti::fitting {

const FitKernels kGenericFit = {"generic", look, see, cache, evaluate, step};

}  // namespace llicti::fitting
