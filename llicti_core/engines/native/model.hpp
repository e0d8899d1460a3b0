// What a model and the format's tables look like to the kernels: packed once, then read by every thread.
#pragma once

#include <array>
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
    std::array<int32_t, 8> mantissa;                  // SCALE_MANTISSA << 4
    std::array<int32_t, kWeightExp> weight_exp;
    std::vector<int32_t> reciprocal;                  // (2^27 - 1) / sum, from kLeastShareSum on
};

// One layer of one band. Outputs of a group are padded to a multiple of 4, inputs to quads of 4.
struct Layer {
    int quads;                    // input quads of a group
    int blocks;                   // output blocks of 4 of a group
    bool signed_input;            // inputs are stored as value + 128
    std::vector<int8_t> weight;   // [group][block][quad][4 outputs][4 inputs]
    std::vector<int32_t> bias;    // [scale or 1][group][4 * blocks], the 128 of stored inputs taken out
    std::vector<int32_t> multiplier;  // [group][4 * blocks]

    const int8_t* group_weight(int group) const { return &weight[size_t(group) * blocks * quads * 16]; }
    const int32_t* group_bias(int scale, int group) const {
        return &bias[(size_t(signed_input ? scale : 0) * kGroups + group) * blocks * 4];
    }
    const int32_t* group_multiplier(int group) const { return &multiplier[size_t(group) * blocks * 4]; }
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

// What an image's own fit does to the outputs of a band: parameter = (fine * gain + bias) / 1024, rounded.
struct Correction {
    std::array<int32_t, kParameters> gain, bias;  // by group, then by output
};

// By scale and band.
using Corrections = std::array<std::array<Correction, 3>, kScales>;

struct Model {
    Tables tables;
    std::array<Band, 3> bands;
};

}  // namespace llicti
