// Packs layers the way the kernels read them.
#include "model.hpp"

#include <algorithm>

namespace llicti {
namespace {

constexpr int kLeastShort = 32, kMostShort = 8191;

int round_up(int value, int unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Layer::Layer(int in, int out, int scales, const int8_t* weights, const int32_t* biases, const int32_t* multipliers)
    : quads((in + 3) / 4), tiles((out + 15) / 16), stride(round_up(in, 64)), first(scales > 1) {
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
    // Modulo 2**32, like the accumulators that start from it.
    offset_bias = bias;
    for (size_t i = 0; i < bias.size(); i++) {
        int32_t sum = 0;
        for (int k = 0; k < in; k++) sum += weight[i % rows * size_t(stride) + k];
        offset_bias[i] = int32_t(uint32_t(bias[i]) - 128u * uint32_t(sum));
    }
    for (size_t i = 0; i < rows; i += 16) {
        short_tile.push_back(std::all_of(&multiplier[i], &multiplier[i] + 16, [](int32_t m) {
            return m >= kLeastShort && m <= kMostShort;
        }));
    }
    for (int32_t m : multiplier) short_multiplier.insert(short_multiplier.end(), 4, uint16_t(8 * m));
}

}  // namespace llicti
