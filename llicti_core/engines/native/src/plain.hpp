// Plain bits: values of a few bits each, side by side, in the order of the pyramid (docs/format.md, 8.6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "planes.hpp"
#include "tile.hpp"

namespace llicti {

// What a section has of a tile: those of its pixels whose row and column are multiples of 2**level, but, where it has a
// coarser level below it, not both of 2**(level + 1); of each channel a value of so many bits.
struct PlainLevel {
    int level;
    bool coarsest;
    int bits;
};

// A section's bytes of the tile that `pixels` are.
std::vector<uint8_t> pack_plain(const Pixels& pixels, const PlainLevel& part);

// Bytes that a tile of that size takes of a section.
size_t plain_size(const TileRect& tile, int channels, const PlainLevel& part);

// Puts the values of a tile's bytes, plain_size of them, into `to`: every 2**level'th pixel of each row and column of a
// view. tile: its place seen from the view's first pixel, in pixels of the image. Throws FormatProblem.
void unpack_plain(const uint8_t* bytes, const PlainLevel& part, const TileRect& tile, int level, const Pixels& to);

}  // namespace llicti
