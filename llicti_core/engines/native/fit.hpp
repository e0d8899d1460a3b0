// Fitting corrections to an image.
#pragma once

#include <cstdint>
#include <vector>

#include "pyramid.hpp"

namespace llicti {

// How much work a fit is.
struct FitPlan {
    int scales;   // finest scales that get corrections of their own
    int samples;  // pixels of each band that are fitted to, at most; half as many more judge
    int batch;    // pixels that a step of the optimiser looks at
    int steps;
};

constexpr int kOutputsPerScale = 3 * 2 * kParameters;

// As the file has them, for as many of the finest scales as there are of each kind: int8 by scale, band, (gain, bias) and
// output; and of the last hidden layer's biases by scale, band and channel.
struct StoredCorrections {
    std::vector<int8_t> outputs, hidden;
};

// The corrections that pay for their bytes.
StoredCorrections fit_corrections(const std::vector<Pixels>& tiles, const Model& model, const Kernels& kernels,
                                  const FitPlan& plan, Team& team);

// From the file's numbers to what kernels use; scales beyond those stored are left as they are.
Corrections unpack_corrections(const StoredCorrections& stored, const Model& model);

}  // namespace llicti
