// Packs layers the way the kernels read them.
#include "kernels.hpp"

#include <algorithm>

namespace llicti {
namespace {

constexpr int kLeastShort = 32, kMostShort = 8191;

int round_up(int value, int unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Layer::Layer(int in, int out, int scales, const int8_t* weights, const int32_t* biases, const int32_t* multipliers)
    : out(out), quads((in + 3) / 4), tiles((out + 15) / 16), stride(round_up(in, 64)), first(scales > 1) {
    const size_t rows = row(kGroups, 0);
    weight.assign(rows * size_t(stride), 0);
    bias.assign(rows * size_t(scales), 0);
    multiplier.assign(rows, kLeastShort);
    for (int g = 0; g < kGroups; g++) {
        for (int o = 0; o < out; o++) {
            const size_t from = size_t(g) * out + o, to = row(g, o);
            std::copy_n(weights + from * in, in, &weight[to * size_t(stride)]);
            multiplier[to] = multipliers[from];
            for (size_t s = 0; s < size_t(scales); s++) bias[s * rows + to] = biases[s * kGroups * out + from];
        }
    }
    for (size_t i = 0; first && i < weight.size(); i += 4) {
        for (size_t k : {0, 2, 1, 3}) split_weight.push_back(weight[i + k]);
    }
    for (size_t i = 0; i < rows; i++) {
        int32_t sum = 0;
        for (int k = 0; k < in; k++) sum += weight[i * size_t(stride) + k];
        input_offset.push_back(128 * sum);
    }
    for (size_t i = 0; i < rows; i += 16) {
        short_tile.push_back(std::all_of(&multiplier[i], &multiplier[i] + 16, [](int32_t m) {
            return m >= kLeastShort && m <= kMostShort;
        }));
    }
    for (int32_t m : multiplier) short_multiplier.insert(short_multiplier.end(), 4, uint16_t(8 * m));
}

OutputLayer::OutputLayer(const Layer& layer)
    : width(round_up(4 * layer.quads, 16)), weight(size_t(kGroups) * width * 16) {
    for (int g = 0; g < kGroups; g++) {
        for (int o = 0; o < kOutputs; o++) {
            const float unit = float(layer.multipliers(g, o)[0]) / float(1 << (kOutputShift + kFineShift));
            bias[g * kOutputs + o] = unit * float(layer.biases(0, g)[o]);
            for (int k = 0; k < width; k++) {
                weight[(size_t(g) * width + k) * 16 + o] = unit * float(layer.weights(g, o)[k]);
            }
        }
    }
}

}  // namespace llicti
