// Packs layers the way the kernels read them.
#include "model.hpp"

#include <algorithm>

namespace llicti {
namespace {

constexpr int kLeastShort = 32, kMostShort = 8191;

int round_up(int value, int unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Tables::Tables() {
    for (int j = 0; j < kKnots; j++) {
        tail[j] = uint16_t(kCdfTail[j]);
        tail_delta[j] = uint16_t((kCdfTail[j] - kCdfTail[j + 1]) << 4);
        tail_and_delta[j] = tail[j] | uint32_t(tail_delta[j]) << 16;
    }
    for (size_t t = 0; t < weight_exp.size(); t++) weight_exp[t] = uint16_t(kWeightExp[t]);
    for (size_t r = 0; r < mantissa.size(); r++) mantissa[r] = uint16_t(kSpreadMantissa[r] << 4);
    for (int sum = kLeastShareSum; sum <= kMaxShareSum; sum++) {
        reciprocal.push_back(((1 << kReciprocalShift) - 1) / sum);
    }
}

Layer::Layer(int in, int out, int levels, const int8_t* weights, const int32_t* biases, const int32_t* multipliers)
    : out(out), quads((in + 3) / 4), row_blocks((out + 15) / 16), stride(round_up(in, 64)), first(levels > 1) {
    const size_t padded = size_t(rows());
    weight.assign(padded * size_t(stride), 0);
    bias.assign(padded * size_t(levels), 0);
    multiplier.assign(padded, kLeastShort);
    std::copy_n(multipliers, out, multiplier.begin());
    for (int o = 0; o < out; o++) std::copy_n(weights + size_t(o) * in, in, &weight[size_t(o) * size_t(stride)]);
    for (int s = 0; s < levels; s++) std::copy_n(biases + size_t(s) * out, out, &bias[size_t(s) * padded]);
    for (size_t i = 0; first && i < weight.size(); i += 4) {
        for (size_t k : {0, 2, 1, 3}) split_weight.push_back(weight[i + k]);
    }
    for (size_t i = 0; i < padded; i++) {
        int32_t sum = 0;
        for (int k = 0; k < in; k++) sum += weight[i * size_t(stride) + k];
        input_offset.push_back(128 * sum);
    }
    for (size_t i = 0; i < padded; i += 16) {
        short_row_block.push_back(std::all_of(&multiplier[i], &multiplier[i] + 16,
                                              [](int32_t m) { return m >= kLeastShort && m <= kMostShort; }));
    }
    for (int o = 0; o < rows(); o += 4) {
        narrow_block.push_back(sums_are_narrow(o) && sums_are_narrow(o + 1) && sums_are_narrow(o + 2) &&
                               sums_are_narrow(o + 3));
    }
    for (int32_t m : multiplier) short_multiplier.insert(short_multiplier.end(), 4, uint16_t(8 * m));
}

// Whether no sum of an output's products that narrow_block speaks of can leave 16 bits.
bool Layer::sums_are_narrow(int output) const {
    const int8_t* row = weights(output);
    const int most = 32767 / (first ? 255 : kActivationMax);
    const std::array<int, 4> together = first ? std::array<int, 4>{0, 1, 0, 1} : std::array<int, 4>{0, 1, 4, 5};
    for (int k = 0; k < stride; k += 2) {
        if (!first && k % 8 >= 4) continue;  // taken together with those of the quad before
        int above = 0, below = 0;
        for (int i = 0; i < (first ? 2 : 4); i++) {
            const int w = row[k + together[i]];
            (w > 0 ? above : below) += w;
        }
        if (above > most || -below > most) return false;
    }
    return true;
}

}  // namespace llicti
