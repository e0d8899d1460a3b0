// The interface between tile coding and the instruction-set dependent kernels.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "model.hpp"

namespace llicti {

// Least and greatest of a channel's values; one whose bounds are equal is not coded.
struct Bounds {
    int low, high;
    bool coded() const { return low != high; }
};

// --- Planes by lane -----------------------------------------------------------------------------
// The values of a phase's channel lie in slots of kLaneStride lanes: row 32 * g + l, column c, at slot
// g * period + 2 * l + c and lane l. All pixels of a step are then one slot's lanes, and so is each of their
// neighbours. Lanes -2, -1, 32 and 33 repeat rows of the groups above and below, and columns -2, -1 and the two past
// the last one the edge's values.
constexpr int kMarginLanes = 2;
constexpr int kLaneStride = kLanes + 2 * kMarginLanes;
constexpr int kMarginSlots = 8;  // slots before the first and after the last pixel that contexts reach

struct Geometry {
    int rows, columns;  // of phase 00
    int period;         // slots from a row group to the next
    int groups;

    Geometry(int rows, int columns)
        : rows(rows),
          columns(columns),
          period(columns + kGroupPad > kMinGroupSteps ? columns + kGroupPad : kMinGroupSteps),
          groups((rows + kLanes - 1) / kLanes) {}

    // One past the last slot.
    ptrdiff_t end() const {
        return ptrdiff_t(groups - 1) * period + kLaneDelay * (kLanes + kMarginLanes) + columns + kMarginSlots;
    }
    // Elements of a plane, of which the first slot is slot -kMarginSlots.
    size_t plane_size() const { return size_t(end() + kMarginSlots) * kLaneStride; }
    // Where row `lane` of `group` has column 0, from the element of slot 0, lane 0.
    ptrdiff_t offset(int group, int lane) const {
        return (ptrdiff_t(group) * period + kLaneDelay * lane) * kLaneStride + lane;
    }
};

constexpr int kOrigin = kMarginSlots * kLaneStride + kMarginLanes;  // element of slot 0, lane 0

// --- Networks -----------------------------------------------------------------------------------

// Runs of quads of inputs whose products are summed up together, for a few outputs: where their weights begin, and how
// many runs there are of each length. Of pairs.hpp, whose sums need no runs, count[0] is of quads.
constexpr size_t kRunLengths = 6;
struct RowBlock {
    uint32_t weight;
    uint16_t count[kRunLengths];
};

// A layer as the kernels of one instruction set read it: outputs in blocks of as many as they take together.
struct PackedLayer {
    int in, out, rows;            // rows: outputs, in whole blocks
    int quads;                    // of 4 inputs, the last one padded
    std::vector<int32_t> weight;  // 4 weights each, in the order in which they are used
    // Where products are summed up by runs of quads: the runs of each block, and where in memory their quads
    // of inputs are.
    std::vector<RowBlock> block;
    std::vector<uint16_t> offset;
    std::vector<int32_t> bias;        // [kBiasLevels][rows], what inputs stored as value + 128 add taken off
    std::vector<int32_t> multiplier;  // [rows]
    // Where a multiplier m is in [32, 8192), 16 bits are enough to requantise: with an accumulator saturated to t in
    // [0, 65535], (t * m + 2**13) >> 14 is (((t * 8m) >> 16) + 1) >> 1, or both exceed 127.
    std::vector<uint8_t> short_block;        // [blocks] whether all its multipliers are
    std::vector<uint16_t> short_multiplier;  // 8m
};

struct PackedNetwork {
    std::vector<PackedLayer> layers;
    int rows;                          // outputs, in whole blocks
    std::vector<int32_t> gain, shift;  // [kBiasLevels][rows]: parameter = (fine * gain + shift) >> 10
};

using PackedNetworks = std::array<std::array<PackedNetwork, kBands>, kNetworks>;

// --- Passes -------------------------------------------------------------------------------------

constexpr int kMaxKnown = 3 * 40 + 9;              // inputs that are known values
constexpr int kMaxInputs = kMaxKnown + 2 * 5 + 3;  // and of the band itself, and bases
constexpr int kMaxOutputRows = 64;                 // kChromaOutputs, in whole blocks

// All that coding one band takes, of luma or of chroma. Pointers are to the element of slot 0, lane 0, of the band's
// first pixel or its neighbour.
struct Pass {
    const PackedNetwork* network;
    int bias_level;     // which biases, gains: min(level, kBiasLevels - 1)
    int rows, columns;  // of the band
    int period;         // see Geometry
    ptrdiff_t slots;    // one past the last slot
    int channels;       // 1 or 2
    bool deep;          // values have kDeepBits, not 8
    Bounds bounds[2];
    int bases;                     // channels that the network sees: 1 or 3
    const int16_t* nearest[3][4];  // known values whose mean is the base
    int known;                     // inputs that are known values
    const int16_t* source[kMaxKnown];
    uint8_t base[kMaxKnown];  // what is taken off each
    int16_t* target[2];       // the band's own pixels
};

// Steps of a pass over row groups.
inline int step_count(int period, int columns, int groups) {
    return (groups - 1) * period + kLaneDelay * (kLanes - 1) + columns;
}

// Lanes of a row group that have begun `since` steps after its first one: as bits, those from 0 on.
inline uint32_t lanes_begun(ptrdiff_t since) {
    return since < 0 ? 0 : (uint32_t(2) << (since < kLaneDelay * kLanes ? since / kLaneDelay : kLanes - 1)) - 1;
}

// Row groups of consecutive streams, which are coded as if they were one stream's: the first lanes of each group begin
// while the last ones of the group before are at work still. Which lanes have a pixel at each step of a pass, as bits.
struct Wavefront {
    int first_group, groups;
    const int* stream;  // by group of the level
    int step = -1;
    bool done = false;
    uint32_t active = 0;                                // have a pixel
    uint32_t first = 0, second = 0, last = 0, top = 0;  // in the first, second, last column; in a stream's first row
    uint32_t newer = 0;                                 // in row group `group`; others are in the one before
    int group = 0;
};

// A stream's lanes while decoding, and the words of the segment being read.
struct StreamDecoder {
    alignas(64) uint32_t state[kLanes];
    const uint8_t* words;
    const uint8_t* end;
};

struct Kernels {
    const char* name;
    void (*pack)(const Network&, NetworkKind, PackedNetwork&);
    // Go on with a pass, `steps` of it at most, until wavefront.done. encode writes (cdf_low | frequency << 16) of the
    // band's values, for every step and coded channel kLanes entries, from the wavefront's first step on; entries of
    // lanes without a pixel are zero. decode, of decoders by stream, returns false where the words run out.
    void (*encode)(const Pass&, Wavefront&, int steps, uint32_t* intervals);
    bool (*decode)(const Pass&, Wavefront&, int steps, StreamDecoder*);
    // Puts the kLanes intervals of a step, as encode writes them, on the states of `lanes`, the last one first. Writes
    // the words that this takes, in decoding order, right before `words` and returns where they begin; up to 16 bytes
    // before that may be overwritten.
    uint8_t* (*put_on)(const uint32_t* intervals, uint32_t lanes, uint32_t* state, uint8_t* words);
    // A row of `width` pixels, `channels` bytes each, to values of each channel; and the reverse.
    void (*read_row)(const uint8_t* from, int width, int channels, int16_t* const* to);
    void (*write_row)(const int16_t* const* from, int width, int channels, uint8_t* to);
};

extern const Kernels kGenericKernels;
#ifdef LLICTI_HAVE_AVX512
extern const Kernels kAvx512Kernels;
#endif
#ifdef LLICTI_HAVE_AVXVNNI
extern const Kernels kAvxvnniKernels;
#endif
#ifdef LLICTI_HAVE_AVX2
extern const Kernels kAvx2Kernels;
#endif
#ifdef LLICTI_HAVE_DOTPROD
extern const Kernels kDotprodKernels;
#endif
#ifdef LLICTI_HAVE_NEON
extern const Kernels kNeonKernels;
#endif

}  // namespace llicti
