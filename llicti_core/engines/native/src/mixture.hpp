// What the kernels of every instruction set share: sizes of a chunk, and the mixture of one channel.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "kernels/kernels.hpp"

namespace llicti {

constexpr int kCdfBits = 16;  // of a probability
constexpr int kCdfTotal = 1 << kCdfBits;
constexpr int kFine = 1 << kFineShift;  // means are in 1 / kFine of a pixel value
constexpr int kFractionBits = 7;        // of a position between two knots of the table of tails
constexpr int kFractionMask = (1 << kFractionBits) - 1;
static_assert((kMaxPosition + 1) >> kFractionBits == kKnots, "positions reach the end of the table");
constexpr int kSpreadShift = 10;  // power = 2^(kSpreadShift - octave), an octave of spreads having 8 indices
constexpr int kMaxInputs = 128;   // 3 * 40 + 3, in whole AMX tiles

// One channel's mixtures for a chunk (docs/format.md, clause 6), by component. A distance of `a` / kFine from the mean
// is at position min((min(a, limit) * power * mantissa) >> 16, kMaxPosition) of the table.
struct Mixture {
    alignas(64) uint16_t weight[kComponents][kChunk];
    alignas(64) uint16_t mantissa[kComponents][kChunk];
    alignas(64) uint16_t power[kComponents][kChunk];
    alignas(64) uint16_t limit[kComponents][kChunk];
    alignas(64)
        int16_t origin[kComponents][kChunk];  // kFine * (base + 1/2) + centre: the distance of x is kFine * x - origin
};

// In an anonymous namespace, so that no copy compiled for one instruction set is linked into code for another.
namespace {

// An output's accumulator times multiplier in sixteenths of its parameter's unit.
inline int32_t fine_output(int32_t scaled) { return (scaled + (1 << (kOutputShift - 1))) >> kOutputShift; }

// Take the next word of a stream. Returns false where there is none.
inline bool take_word(StreamDecoder& decoder, uint32_t& state) {
    if (decoder.end - decoder.words < 2) return false;
    state = state << 16 | uint32_t(decoder.words[0]) | uint32_t(decoder.words[1]) << 8;
    decoder.words += 2;
    return true;
}

// Take decoded intervals off the first `count` lanes. Returns false where the words run out.
inline bool advance(StreamDecoder& decoder, int count, const uint16_t* cdf_low, const uint16_t* frequency) {
    for (int lane = 0; lane < count; lane++) {
        uint32_t& state = decoder.state[lane];
        state = frequency[lane] * (state >> 16) + (state & 0xFFFF) - cdf_low[lane];
        if (state < uint32_t(kStateMin) && !take_word(decoder, state)) return false;
    }
    return true;
}

}  // namespace

}  // namespace llicti
