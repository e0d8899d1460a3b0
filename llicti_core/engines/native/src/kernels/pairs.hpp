// Weights of two outputs at a time, without the quads of inputs of which neither output has any weight: for kernels
// with products of four bytes.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/kernels.hpp"

namespace llicti {
namespace {

constexpr int kPair = 2;

// A block of `packed` for each pair of outputs: count[0] quads, the two outputs' weights of one after those of the
// other. quad_bytes: from a quad of inputs to the next.
inline void pack_pairs(const Layer& layer, int quad_bytes, PackedLayer& packed) {
    for (int row = 0; row < packed.rows; row += kPair) {
        RowBlock block{uint32_t(packed.weight.size()), {}};
        for (int quad = 0; quad < packed.quads; quad++) {
            int32_t weights[kPair] = {};
            for (int i = 0; i < kPair && row + i < layer.out; i++) {
                const int8_t* from = &layer.weight[size_t(row + i) * size_t(layer.in) + size_t(4 * quad)];
                std::memcpy(&weights[i], from, size_t(std::min(4, layer.in - 4 * quad)));
            }
            if (!weights[0] && !weights[1]) continue;
            packed.offset.push_back(uint16_t(quad_bytes * quad));
            packed.weight.insert(packed.weight.end(), weights, weights + kPair);
            block.count[0]++;
        }
        packed.block.push_back(block);
    }
}

// What pack_pairs has packed for a pair of outputs: quads with weights, these, and where in memory the inputs are.
struct Pair {
    int count;
    const int32_t* weight;
    const uint16_t* offset;
};
inline Pair pair_of(const PackedLayer& layer, int block) {
    const RowBlock& packed = layer.block[size_t(block)];
    return {packed.count[0], layer.weight.data() + packed.weight, layer.offset.data() + packed.weight / kPair};
}

}  // namespace
}  // namespace llicti
