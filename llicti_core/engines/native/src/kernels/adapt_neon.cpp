// The search's kernels, compiled for neon.
#include "adapt.inc"

namespace llicti::fitting {

const FitKernels kNeonFit = {"neon", look, see, cache, evaluate, step};

}  // namespace llicti::fitting
