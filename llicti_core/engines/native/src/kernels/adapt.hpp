// The interface between the search for an adaptation and what it computes with each instruction set: what networks see
// of an image's pixels, a network in floats, the bits it takes for a block of contexts, and their gradient.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "spec.hpp"

namespace llicti::fitting {

constexpr int kContexts = 64;       // contexts that are evaluated together
constexpr int kMostOutputs = 48;    // 35, padded
constexpr int kChannelsAtOnce = 2;  // of the chroma network; the luma network has one
constexpr int kMostPlaces = 80;     // that all networks together look at around a cell: 72
constexpr int kReach = 4;           // how far they are from it

// Widths of layers, padded so that tiles of products are whole.
constexpr int padded(int n) { return (n + 7) / 8 * 8; }
constexpr int padded_more(int n) { return (n + 15) / 16 * 16; }

// A number of each context.
struct alignas(64) Row {
    Row() {}  // not initialised
    float of[kContexts];
};

// A cell is four pixels of a level, one of each phase: that of phase 00 and those that it has below and beside it.
// Places are counted from the one of phase 00, in units of half the level's step.
struct Offset {
    int row, column;
};

// Pixels of the image that a level has as its own.
struct LevelView {
    const uint8_t* first;
    ptrdiff_t row, column;  // bytes from one pixel to the next
    int height, width;
    uint8_t number;  // index of the first layer's biases
};

// What is looked at around some cells: values of channel after channel, place after place.
struct CellBlock {
    enum Edge : uint8_t {  // of the level, at which a cell is
        kFirstRow = 1,
        kFirstColumn = 2,
        kSecondColumn = 4,
        kLastColumn = 8,      // whose next one has no pixel of even column
        kLastOddColumn = 16,  // whose next one has none of odd column
        kNoOddRow = 32,       // it has no pixels of odd row itself
        kNoOddColumn = 64
    };

    int count;  // cells; what comes after them is a copy of the first one
    int set;    // of levels, to which all belong
    uint8_t level[kContexts];
    uint8_t edge[kContexts];
    alignas(64) int16_t value[3][kMostPlaces][kContexts];
};

// What a band's networks see, as indices of places.
struct BandView {
    int own, back[5];
    std::vector<int> known, more;
    int nearest[4];           // of `known`, whose mean is the base
    uint8_t missing;          // edges at which a cell has no pixel of the band
    uint8_t missing_back[5];  // and at which it has none at such a place
};

// Least and greatest value of each channel, Y, Co, Cg.
struct ValueBounds {
    int low[3], high[3];
};

// Contexts of one network: inputs, or what the last hidden layer makes of them before its change and its activation.
struct ContextBlock {
    int set;                     // of levels, to which all belong
    int count;                   // of contexts that there are
    uint8_t level[kContexts];    // index of the first layer's biases
    Row counted;                 // 1, or 0 for a context that there is not
    Row upper[kChannelsAtOnce];  // end of the value's interval, less the base, in its unit
    Row lower[kChannelsAtOnce];  // and its start
    Row residual;                // of Co, by which coefficients shift Cg
    std::vector<Row> rows;       // by input
};

struct FloatLayer {
    int in, out;
    bool by_level;                   // whether biases differ by level, not by set alone
    const float* weight;             // [padded out][padded in]
    const float* bias[kBiasLevels];  // [padded out], by level; of the output layer, all the same
};

// parameter = (weights * activations + bias) * gain + shift
struct FloatNetwork {
    std::vector<FloatLayer> layers;
    bool cached;  // rows of blocks are those of the last hidden layer; what comes before is not looked at
    int channels;
    float share[kChannelsAtOnce];  // of probability that the mixture has, the rest being spread evenly; 0 where
                                   // the channel is not coded
    const float *gain[kBiasLevels], *shift[kBiasLevels];  // [kMostOutputs], by set
};

// Sums over contexts of the slopes of the bits; null pointers where they are not wanted.
struct FloatGradient {
    std::vector<float*> weight;               // by layer, [padded in][out, padded more]
    std::vector<float*> hidden[kBiasLevels];  // by set and hidden layer, [padded out]
    float *gain[kBiasLevels], *shift[kBiasLevels];
};

// A step of Adam.
struct AdamStep {
    float mean_rate, square_rate;    // 1 - beta
    float mean_scale, square_scale;  // 1 / (1 - beta^t)
    float rate;
    float price;  // slope of what a number costs is price / (1 + |number|)
};

// Pixels as they are stored.
struct PixelFormat {
    int channels;
    bool deep;  // 16 bits, of which kDeepBits are used
    int extra() const { return deep ? kDeepBits - 8 : 0; }
};

// Where a cell is.
struct Spot {
    const LevelView* level;
    int row, column;  // of the cell
};

struct FitKernels {
    const char* name;
    // Looks at some places of all spots, by index.
    void (*look)(const PixelFormat&, const Spot (&spots)[kContexts], const std::vector<Offset>& places,
                 const std::vector<int>& wanted, CellBlock&);
    // Makes a block of what a network sees of a band, the chroma network or that of luma.
    void (*see)(const BandView&, const CellBlock&, bool chroma, const ValueBounds&, int extra, ContextBlock&);
    // A block's copy with the last hidden layer's totals in place of inputs.
    void (*cache)(const FloatNetwork&, const ContextBlock&, ContextBlock& copy);
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
