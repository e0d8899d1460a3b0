// What a model and the format's tables look like to the kernels: packed once, then read by every thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "spec.hpp"

namespace llicti {

constexpr int kParameters = kParameterKinds * kOutputs;  // a network's outputs, by kind
constexpr int kLeastShareSum = kWeightExp[0];            // of a mixture's weights, before they are normalised
constexpr int kMaxShareSum = kComponents * kWeightExp[0];
constexpr int kKnots = int(kCdfTail.size()) - 1;  // intervals of the table of tails

// The integer tables of docs/format.md, clause 6, as kernels want them.
struct Tables {
    Tables();

    alignas(64) std::array<uint16_t, kKnots> tail;        // kCdfTail[j]
    alignas(64) std::array<uint16_t, kKnots> tail_delta;  // (kCdfTail[j] - kCdfTail[j + 1]) << 4
    std::array<uint32_t, kKnots> tail_and_delta;          // tail[j] | tail_delta[j] << 16
    alignas(64) std::array<uint16_t, kWeightExp.size()> weight_exp;
    std::array<uint16_t, kSpreadMantissa.size()> mantissa;  // kSpreadMantissa << 4
    std::vector<int32_t> reciprocal;                        // (2^kReciprocalShift - 1) / sum, from kLeastShareSum on
};

// One layer of one band's network. Rows of weights are padded with zeros to whole blocks of the widest kernels: 16
// outputs by 64 inputs.
struct Layer {
    // weight [out][in], bias [level or 1][out], multiplier [out]; only the first layer of a band, whose inputs are
    // signed, has a bias for every level.
    Layer(int in, int out, int levels, const int8_t* weight, const int32_t* bias, const int32_t* multiplier);

    int out;         // outputs
    int quads;       // of 4 inputs, the last one padded
    int row_blocks;  // of 16 outputs, the last one padded
    int stride;      // from a row of weights to the next
    bool first;
    std::vector<int8_t> weight;  // [rows][stride]
    std::vector<int16_t>
        split_weight;           // the same of the first layer, the even of every four inputs before the odd ones
    std::vector<int32_t> bias;  // [level or 1][rows]
    std::vector<int32_t> input_offset;  // what inputs stored as value + 128 take off a bias, [rows]
    std::vector<int32_t> multiplier;    // [rows]
    // For a row block all of whose multipliers m are in [32, 8192), 16 bits are enough to requantise: with an
    // accumulator saturated to t in [0, 65535], (t * m + 2**13) >> 14 is (((t * 8m) >> 16) + 1) >> 1, or both exceed
    // 127.
    std::vector<uint8_t> short_row_block;    // [row_blocks]
    std::vector<uint16_t> short_multiplier;  // 8m, four times each
    // Where 16 bits are enough for sums of products: for four outputs, of two inputs of the first layer, stored as
    // value + 128, or of four activations, the first or the last two of one quad and of the next.
    std::vector<uint8_t> narrow_block;  // [rows / 4]

    int rows() const { return 16 * row_blocks; }
    const int8_t* weights(int output) const { return &weight[size_t(output) * size_t(stride)]; }
    const int16_t* split_weights(int output) const { return &split_weight[size_t(output) * size_t(stride)]; }
    const int32_t* biases(int level) const { return &bias[first ? size_t(level) * size_t(rows()) : 0]; }
    const int32_t* input_offsets(int output) const { return &input_offset[size_t(output)]; }
    const int32_t* multipliers(int output) const { return &multiplier[size_t(output)]; }
    const uint16_t* short_multipliers(int output) const { return &short_multiplier[4 * size_t(output)]; }
    bool is_short(int output) const { return short_row_block[size_t(output) / 16]; }
    bool is_narrow(int output) const { return narrow_block[size_t(output) / 4]; }

private:
    bool sums_are_narrow(int output) const;
};

struct Neighbour {
    int phase;   // 0..3: 00, 11, 01, 10
    int dy, dx;  // in pixels of the phase, from the predicted pixel's indices in its own phase
};

struct Band {
    int phase;
    std::vector<Neighbour> neighbours;
    std::array<int, 4> nearest;
    std::vector<Layer> layers;
};

struct Model {
    Tables tables;
    std::array<Band, 3> bands;
};

// The layer whose biases an image can change.
inline const Layer& last_hidden(const Band& band) { return band.layers[band.layers.size() - 2]; }

}  // namespace llicti
