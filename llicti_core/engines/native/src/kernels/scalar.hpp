// The parts of the kernels that need no instruction set: table lookups, and the mixture lane by lane.
// Compiled once for each set that uses them, hence the anonymous namespace.
#pragma once

#include "mixture.hpp"

namespace llicti {
namespace {

// From spread indices, yet to be clamped, to what Mixture holds of them.
inline void spread_row(const Tables& tables, const int16_t* parameter, uint16_t* mantissa, uint16_t* power,
                       uint16_t* limit) {
    for (int p = 0; p < kChunk; p++) {
        const int index = std::min(std::max<int>(parameter[p], 0), kMaxSpreadIndex);
        const int shift = kSpreadShift - (index >> 3);
        mantissa[p] = tables.mantissa[size_t(index & 7)];
        power[p] = uint16_t(1 << shift);
        limit[p] = uint16_t(65535 >> shift);
    }
}

// Shares of components `below` steps under the heaviest, 0..127.
inline void share_row(const Tables& tables, const uint16_t* below, uint16_t* share) {
    for (int p = 0; p < kChunk; p++) share[p] = tables.weight_exp[below[p]];
}

}  // namespace
}  // namespace llicti
