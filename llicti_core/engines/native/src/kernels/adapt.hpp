// The interface between the search for an adaptation and what it computes with each instruction set: a network in
// floats, the bits it takes for a block of contexts, and their gradient.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "spec.hpp"

namespace llicti::fitting {

constexpr int kContexts = 64;       // contexts that are evaluated together
constexpr int kMostOutputs = 48;    // 35, padded
constexpr int kChannelsAtOnce = 2;  // of the chroma network; the luma network has one

// Rows of floats are padded with zeros to whole registers.
constexpr int padded(int n) { return (n + 15) / 16 * 16; }

// Places of a crop that are read for a band: where its pixels lie, and what each network sees of them. Offsets are in
// (row, column), in units of half the level's step.
struct Offset {
    int row, column;
};
struct BandShape {
    int row, column;  // parity of the band's pixels
    std::vector<Offset> known, more;
    int nearest[4];  // known neighbours whose mean is the base
};
constexpr Offset kBack[5] = {{0, -2}, {0, -4}, {-2, -2}, {-2, 0}, {-2, 2}};

// Part of a tile, or a whole one, as planes of Y, Co and Cg (or of Y alone).
struct Crop {
    int height, width;
    int extra;  // bits that values have beyond the network's unit
    std::vector<int16_t> plane[3];
};

// A band of one level of a crop.
struct CropBand {
    const Crop* crop;
    const BandShape* shape;
    int level;
    int rows, columns;             // of its pixels
    std::vector<int32_t> offsets;  // of the known, more and back places, from a pixel inside the crop
    int64_t pixels() const { return int64_t(rows) * columns; }
};

// Least and greatest value of each channel, Y, Co, Cg.
struct ValueBounds {
    int low[3], high[3];
};

// Contexts of one network: inputs, or what the last hidden layer makes of them before its change and its activation.
struct ContextBlock {
    int count;                                            // contexts; what comes after them is not defined
    int set;                                              // of levels, to which all belong
    uint8_t level[kContexts];                             // index of the first layer's biases
    alignas(64) float upper[kChannelsAtOnce][kContexts];  // end of the value's interval, less the base, in its unit
    alignas(64) float lower[kChannelsAtOnce][kContexts];  // and its start
    alignas(64) float residual[kContexts];                // of Co, by which coefficients shift Cg
    std::vector<float> rows;                              // [kContexts][stride]
    int stride;
};

struct FloatLayer {
    int in, out;
    const float* forward;            // [in][padded out]
    const float* backward;           // [out][padded in]
    const float* bias[kBiasLevels];  // [padded out], by level; of the output layer, all the same
};

// parameter = (weights * activations + bias) * scale + offset
struct FloatNetwork {
    std::vector<FloatLayer> layers;
    bool cached;  // rows of blocks are those of the last hidden layer; what comes before is not looked at
    int channels;
    float share[kChannelsAtOnce];  // of probability that the mixture has, the rest being spread evenly; 0 where
                                   // the channel is not coded
    const float *scale[kBiasLevels], *offset[kBiasLevels];  // [kMostOutputs], by set
};

// Sums over contexts of the slopes of the bits; null pointers where they are not wanted.
struct FloatGradient {
    std::vector<float*> weight;               // by layer, [out, padded to 16][padded in]
    std::vector<float*> hidden[kBiasLevels];  // by set and hidden layer, [padded out]
    float *scale[kBiasLevels], *offset[kBiasLevels];
};

// A step of Adam.
struct AdamStep {
    float mean_rate, square_rate;    // 1 - beta
    float mean_scale, square_scale;  // 1 / (1 - beta^t)
    float rate;
    float price;  // slope of what a number costs is price / (1 + |number|)
};

struct FitKernels {
    const char* name;
    // Fill row `at` of a block with the pixel (row, column) of a band. chroma: for the chroma network.
    void (*gather)(const CropBand&, int row, int column, bool chroma, const ValueBounds&, ContextBlock&, int at);
    // Replace inputs by the last hidden layer's totals.
    void (*cache)(const FloatNetwork&, ContextBlock&);
    // Bits of a block. Unless `gradient` is null, slopes are added to it, and the bits are not computed.
    double (*evaluate)(const FloatNetwork&, const ContextBlock&, FloatGradient* gradient);
    // A step of `count` numbers, which stay within what a file can hold.
    void (*step)(const AdamStep&, size_t count, const float* gradient, float* value, float* mean, float* square);
};

extern const FitKernels kGenericFit;
#ifdef LLICTI_ADAPT_AVX512
extern const FitKernels kAvx512Fit;
#endif
#ifdef LLICTI_ADAPT_AVX2
extern const FitKernels kAvx2Fit;
#endif
#ifdef LLICTI_ADAPT_NEON
extern const FitKernels kNeonFit;
#endif

}  // namespace llicti::fitting
