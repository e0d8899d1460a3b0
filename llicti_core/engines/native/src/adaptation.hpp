// The model adapted to an image (docs/format.md, clause 5.2): as a file has it, and as kernels use it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "model.hpp"

namespace llicti {

// As a file has it, for as many of the finest levels as there are of each kind: int8 by level, band, (gain, bias) and
// output; and of the last hidden layer's biases by level, band and channel.
struct AdaptedParameters {
    std::vector<int8_t> outputs, hidden;
};

constexpr int kOutputsPerLevel = 3 * 2 * kParameters;  // numbers of AdaptedParameters::outputs

// Of one band at one level: parameter = (fine * gain + bias) / 1024, rounded; and the biases of the last hidden layer,
// the model's own included.
struct BandAdaptation {
    std::array<int32_t, kParameters> gain, bias;  // by kind, then by output
    std::vector<int32_t> hidden_bias;             // [rows] of that layer
};

// By level and band.
using Adaptation = std::array<std::array<BandAdaptation, 3>, kLevels>;

// From the file's numbers to what kernels use; levels beyond those stored are left as they are.
Adaptation unpack(const AdaptedParameters& stored, const Model& model);

}  // namespace llicti
