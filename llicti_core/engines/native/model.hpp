// What a model and the format's tables look like to the kernels: packed once, then read by every thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace llicti {

constexpr int kScales = 5;
constexpr int kLanes = 32;
constexpr int kComponents = 5;
constexpr int kGroups = 4;
constexpr int kOutputs = 15;
constexpr int kParameters = kGroups * kOutputs;
constexpr int kHiddenShift = 14;
constexpr int kOutputShift = 12;
constexpr int kFineShift = 4;
constexpr int kGainShift = 6;
constexpr int kActivationMax = 127;
constexpr int kMaxScaleIndex = 87;
constexpr int kMaxMean = 16383;
constexpr int kWeightExp = 128;
constexpr int kLeastShareSum = 2048;
constexpr int kMaxShareSum = 5 * 2048;

// The integer tables of docs/format.md, clause 6.
struct Tables {
    alignas(64) std::array<uint16_t, 64> tail;        // CDF_TAIL[j]
    alignas(64) std::array<uint16_t, 64> tail_delta;  // (CDF_TAIL[j] - CDF_TAIL[j + 1]) << 4
    std::array<uint32_t, 64> tail_and_delta;          // tail[j] | tail_delta[j] << 16
    alignas(64) std::array<uint16_t, kWeightExp> weight_exp;
    std::array<uint16_t, 8> mantissa;                 // SCALE_MANTISSA << 4
    std::vector<int32_t> reciprocal;                  // (2^27 - 1) / sum, from kLeastShareSum on
};

// One layer of one band's four networks. Rows of weights are padded with zeros to whole tiles of the widest kernels:
// 16 outputs by 64 inputs.
struct Layer {
    // weight [group][out][in], bias [scale or 1][group][out], multiplier [group][out]; only the first layer of a band,
    // whose inputs are signed, has a bias for every scale.
    Layer(int in, int out, int scales, const int8_t* weight, const int32_t* bias, const int32_t* multiplier);

    int out;     // outputs of a group
    int quads;   // of 4 inputs, the last one padded
    int tiles;   // of 16 outputs, the last one padded
    int stride;  // from a row of weights to the next
    bool first;
    std::vector<int8_t> weight;        // [group][16 * tiles][stride]
    std::vector<int16_t> split_weight; // the same of the first layer, the even of every four inputs before the odd ones
    std::vector<int32_t> bias;         // [scale or 1][group][16 * tiles]
    std::vector<int32_t> input_offset; // what inputs stored as value + 128 take off a bias, [group][16 * tiles]
    std::vector<int32_t> multiplier;   // [group][16 * tiles]
    // For a tile all of whose multipliers m are in [32, 8192), 16 bits are enough to requantise: with an accumulator
    // saturated to t in [0, 65535], (t * m + 2**13) >> 14 is (((t * 8m) >> 16) + 1) >> 1, or both exceed 127.
    std::vector<uint8_t> short_tile;          // [group][tiles]
    std::vector<uint16_t> short_multiplier;   // 8m, four times each

    // Where output `output` of a group has its numbers.
    size_t row(int group, int output) const { return size_t(group) * 16 * size_t(tiles) + size_t(output); }
    const int8_t* weights(int group, int output) const { return &weight[row(group, output) * size_t(stride)]; }
    const int16_t* split_weights(int group, int output) const {
        return &split_weight[row(group, output) * size_t(stride)];
    }
    const int32_t* biases(int scale, int group) const { return &bias[row(first ? scale * kGroups + group : group, 0)]; }
    const int32_t* input_offsets(int group, int output) const { return &input_offset[row(group, output)]; }
    const int32_t* multipliers(int group, int output) const { return &multiplier[row(group, output)]; }
    const uint16_t* short_multipliers(int group, int output) const {
        return &short_multiplier[4 * row(group, output)];
    }
    bool is_short(int group, int output) const { return short_tile[row(group, output) / 16]; }
};

struct Neighbour {
    int phase;  // 0..3: 00, 11, 01, 10
    int dy, dx;  // in pixels of the phase, from the predicted pixel's indices in its own phase
};

struct Band {
    int phase;
    std::vector<Neighbour> neighbours;
    std::array<int, 4> nearest;
    std::vector<Layer> layers;
};

// What an image's own fit does to a band: parameter = (fine * gain + bias) / 1024, rounded; and the biases of the last
// hidden layer, the model's own included.
struct Correction {
    std::array<int32_t, kParameters> gain, bias;  // by group, then by output
    std::vector<int32_t> hidden;                  // [group][16 * tiles] of that layer
};

// By scale and band.
using Corrections = std::array<std::array<Correction, 3>, kScales>;

struct Model {
    Tables tables;
    std::array<Band, 3> bands;
};

}  // namespace llicti
