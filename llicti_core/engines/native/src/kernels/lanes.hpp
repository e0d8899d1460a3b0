// The entropy coder lane by lane, for sets without vectors for it.
#pragma once

#include "kernels/kernels.hpp"

namespace llicti {
namespace {

// Takes the decoded intervals off the active lanes. Returns false where the words run out.
inline bool take_off_by_lane(StreamDecoder& decoder, uint32_t active, const uint16_t* cdf_low,
                             const uint16_t* frequency) {
    const uint8_t* words = decoder.words;
    for (int lane = 0; lane < kLanes; lane++) {
        if (!(active >> lane & 1)) continue;
        uint32_t state = decoder.state[lane];
        state = frequency[lane] * (state >> 16) + (state & 0xFFFF) - cdf_low[lane];
        if (state < uint32_t(kStateMin)) {
            if (decoder.end - words < 2) return false;
            state = state << 16 | uint32_t(words[0]) | uint32_t(words[1]) << 8;
            words += 2;
        }
        decoder.state[lane] = state;
    }
    decoder.words = words;
    return true;
}

// See Kernels.
inline uint8_t* put_on_by_lane(const uint32_t* intervals, uint32_t lanes, uint32_t* state, uint8_t* words) {
    for (int lane = kLanes; lane-- > 0;) {
        const uint32_t cdf_low = intervals[lane] & 0xFFFF, frequency = intervals[lane] >> 16;
        if (!frequency || !(lanes >> lane & 1)) continue;
        uint32_t x = state[lane];
        if (x >> 16 >= frequency) {
            *--words = uint8_t(x >> 8);
            *--words = uint8_t(x);
            x >>= 16;
        }
        state[lane] = (x / frequency << 16) + x % frequency + cdf_low;
    }
    return words;
}

}  // namespace
}  // namespace llicti
