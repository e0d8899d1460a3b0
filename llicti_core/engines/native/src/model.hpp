// A model: what each band is predicted from, and its networks.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "spec.hpp"

namespace llicti {

constexpr int kNetworks = 2, kBands = 3;  // luma and chroma; 11, 01, 10
enum NetworkKind { kLuma, kChroma };

// What of `network` an output is (docs/format.md, clause 5.3): kOutputs[network] in all.
constexpr int kOutputs[kNetworks] = {kLumaOutputs, kChromaOutputs};
enum OutputKind { kSpread, kMean, kLogit, kCoefficient };
constexpr OutputKind output_kind(NetworkKind network, int output) {
    return OutputKind(output / (network == kLuma ? kComponents : 2 * kComponents));
}

// One layer: (weight x input + bias) * multiplier, then a rounding shift. A first layer's biases differ by level, an
// adapted hidden layer's too.
struct Layer {
    int in, out;
    std::vector<int8_t> weight;       // [out][in]
    std::vector<int32_t> bias;        // [kBiasLevels][out]
    std::vector<int32_t> multiplier;  // [out]
};

// Hidden layers and the output layer; gain and shift are an adaptation's, of outputs: [kBiasLevels][out].
struct Network {
    std::vector<Layer> layers;
    std::vector<int8_t> gain, shift;
};

// Of kLuma the bands' networks, of kChroma too.
using Networks = std::array<std::array<Network, kBands>, kNetworks>;

// A pixel of a phase, counted from the predicted pixel's indices in its own phase.
struct Place {
    int phase;  // 0..3: 00, 11, 01, 10
    int row, column;
};

// A predicted phase of each level.
struct Band {
    int phase;
    std::vector<Place> neighbours;  // known values of the channels that are predicted
    std::vector<Place> more_luma;   // further Y values that predict Co and Cg
    std::array<int, 4> nearest;     // neighbours whose mean is the base
};

struct Model {
    std::array<Band, kBands> bands;
    Networks networks;
};

}  // namespace llicti
