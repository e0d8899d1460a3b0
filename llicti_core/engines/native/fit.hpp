// Fitting corrections to an image.
#pragma once

#include <cstdint>
#include <vector>

#include "pyramid.hpp"

namespace llicti {

// How much work a fit is.
struct FitPlan {
    int scales;   // finest scales that get corrections of their own
    int samples;  // pixels of each band that are looked at
    int batch;    // pixels that a step of the optimiser looks at
    int steps;
};

constexpr int kCorrectionBytes = 3 * 2 * kParameters;  // of one scale

// The corrections of the finest scales that pay for their bytes: int8 by scale, band, (gain, bias) and output.
std::vector<int8_t> fit_corrections(const std::vector<Pixels>& tiles, const Model& model, const Kernels& kernels,
                                    const FitPlan& plan, Team& team);

// From the file's numbers to what kernels use; scales beyond those stored are left as they are.
Corrections unpack_corrections(const int8_t* stored, int scales);

}  // namespace llicti
