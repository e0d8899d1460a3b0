// The search's kernels, compiled for neon.
#include "adapt.inc"

namespace llicti::fitting {

const FitKernels kNeonFit = {"neon", gather, cache, evaluate, step};

}  // namespace llicti::fitting
