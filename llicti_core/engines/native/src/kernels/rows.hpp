// Rows of pixels to values and back: the color transform (docs/format.md, clause 3.1), in loops that compilers
// vectorise.
//
// In an anonymous namespace, as in step.hpp.
#pragma once

#include "kernels/kernels.hpp"

namespace llicti {
namespace {

inline void read_row(const uint8_t* from, int width, int channels, int16_t* const* to) {
    if (channels == 1) {
        for (int x = 0; x < width; x++) to[0][x] = int16_t(from[x] - kYOffset);
        return;
    }
    int16_t *luma = to[0], *orange = to[1], *green = to[2];
    for (int x = 0; x < width; x++, from += 3) {
        const int r = from[0], g = from[1], b = from[2];
        const int co = r - b, t = b + (co >> 1), cg = g - t;
        luma[x] = int16_t(t + (cg >> 1) - kYOffset);
        orange[x] = int16_t(co);
        green[x] = int16_t(cg);
    }
}

inline void write_row(const int16_t* const* from, int width, int channels, uint8_t* to) {
    if (channels == 1) {
        for (int x = 0; x < width; x++) to[x] = uint8_t(from[0][x] + kYOffset);
        return;
    }
    const int16_t *luma = from[0], *orange = from[1], *green = from[2];
    for (int x = 0; x < width; x++) {
        const int co = orange[x], cg = green[x], t = luma[x] + kYOffset - (cg >> 1);
        const int b = t - (co >> 1);
        to[3 * x] = uint8_t(b + co);
        to[3 * x + 1] = uint8_t(t + cg);
        to[3 * x + 2] = uint8_t(b);
    }
}

}  // namespace
}  // namespace llicti
