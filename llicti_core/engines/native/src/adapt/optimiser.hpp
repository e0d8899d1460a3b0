// The search for the adaptation of a model to an image.
#pragma once

#include <vector>

#include "adapt/sample.hpp"

namespace llicti {

// How much work a search is.
struct FitPlan {
    int levels;   // finest levels that are adapted, each on its own
    int samples;  // pixels of each band that are fitted to, at most; half as many more judge
    int batch;    // pixels that a step of the optimiser looks at
    int steps;
};

// The changes that pay for their bytes.
AdaptedParameters fit_parameters(const std::vector<Pixels>& tiles, const Model& model, const Kernels& kernels,
                                 const FitPlan& plan, ThreadPool& pool);

}  // namespace llicti
