// The arrays of an adaptation (docs/format.md, clause 5.2): their order, how their numbers are coded, and what these
// change. For what reads an adaptation as for the search for one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "model.hpp"

namespace llicti {

// What the numbers of an array change: weights of a layer, biases of a hidden layer, gains and shifts of outputs.
enum class ArrayKind { kWeight, kHiddenBias, kGain, kShift };

struct ArrayPlace {
    ArrayKind kind;
    int layer;            // of gains and shifts the output layer
    int set;              // of levels; of weights 0
    size_t first, count;  // where its numbers are among those of its network
};

// Calls visit(place) for every array of a network, in the order of the file.
template <class Visit>
void for_each_array(const Network& network, int sets, Visit visit) {
    const int depth = int(network.layers.size()) - 1;
    size_t first = 0;
    const auto add = [&](ArrayKind kind, int layer, int set, int count) {
        visit(ArrayPlace{kind, layer, set, first, size_t(count)});
        first += size_t(count);
    };
    for (int i = 0; i <= depth; i++) {
        const Layer& layer = network.layers[size_t(i)];
        add(ArrayKind::kWeight, i, 0, layer.in * layer.out);
    }
    for (int i = 0; i < depth; i++) {
        for (int set = 0; set < sets; set++) add(ArrayKind::kHiddenBias, i, set, network.layers[size_t(i)].out);
    }
    for (const ArrayKind kind : {ArrayKind::kGain, ArrayKind::kShift}) {
        for (int set = 0; set < sets; set++) add(kind, depth, set, network.layers[size_t(depth)].out);
    }
}

// Which of the sets a level takes.
constexpr int set_of_level(int level, int sets) { return level < sets ? level : sets - 1; }

// How many numbers there are: kAdaptedMin to kAdaptedMax.
constexpr int kAdaptedNumbers = kAdaptedMax - kAdaptedMin + 1;

// Where the numbers' intervals begin for one spread, kAdaptedMin first; and for each 256th of the slots the number that
// holds its first one.
struct NumberTable {
    explicit NumberTable(int spread) {
        const int scale = kSpreadMantissa[size_t(spread & 7)] >> (spread >> 3);
        for (int n = 1; n < kAdaptedNumbers; n++) {
            const int distance = 16 * (n + kAdaptedMin) - 8;
            const int position = std::min(std::abs(distance) * scale >> 7, kMaxPosition);
            const size_t knot = size_t(position >> 8);
            const int tail = kCdfTail[knot] - (((kCdfTail[knot] - kCdfTail[knot + 1]) * (position & 255)) >> 8);
            const int logistic = distance < 0 ? tail : 65535 - tail;
            cdf_low[n] = uint32_t(n + int((65280 * int64_t(logistic)) >> 16));
        }
        cdf_low[0] = 0;
        cdf_low[kAdaptedNumbers] = 65536;
        for (int i = 0, n = 0; i < 256; i++) {
            while (cdf_low[n + 1] <= uint32_t(i) << 8) n++;
            start[i] = uint8_t(n);
        }
    }

    uint32_t cdf_low[kAdaptedNumbers + 1];
    uint8_t start[256];
};

// By how much a number of 1 changes a weight of an output: 2**shift / multiplier.
inline int weight_shift(const Network& network, NetworkKind kind, int layer, int output) {
    if (layer + 1 < int(network.layers.size())) return layer ? kHiddenWeightShift : kFirstWeightShift;
    switch (output_kind(kind, output)) {
        case kSpread:
            return kSpreadWeightShift;
        case kMean:
            return kMeanWeightShift;
        case kLogit:
            return kLogitWeightShift;
        default:
            return kCoefficientWeightShift;
    }
}

// What a number changes a weight or a hidden bias by: floor((number * 2**shift + (multiplier >> 1)) / multiplier)
inline int32_t change(int number, int shift, int32_t multiplier) {
    const int64_t moved = int64_t(number) * (int64_t(1) << shift) + (multiplier >> 1);
    return int32_t(moved / multiplier - (moved % multiplier < 0));
}

// Whether neither an output's accumulator nor its product with the multiplier can leave 32 bits (clause 7.3). weights:
// the sum of their absolute values. bias: the largest of the levels'.
inline bool row_within_bounds(int64_t weights, int64_t bias, int64_t multiplier, bool first_layer) {
    const int64_t reach = (first_layer ? -kInputMin : kActivationMax) * weights + bias;
    // Three times: an engine may store signed inputs with 128 added, and take it off in the bias.
    return multiplier >= 1 && 3 * reach < int64_t(1) << 31 &&
           reach * multiplier < (int64_t(1) << 31) - (1 << kHiddenShift);
}

}  // namespace llicti
