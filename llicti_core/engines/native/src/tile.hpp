// One tile: pixels to streams and back, through the pyramid.
#pragma once

#include <string>
#include <vector>

#include "pyramid.hpp"

namespace llicti {

// Where a tile is in the image, or among the decoded pixels, subsampled as they are asked for; height and width are its
// own, not subsampled. streams: that its symbols are dealt to.
struct TileRect {
    int y, x, height, width, streams;
};

struct Bytes {
    const uint8_t* data;
    size_t size;
};

// segments: by level, coarsest first, then by stream. To be decoded, the finer levels, which nobody asks for, may be
// missing. The lowpass is elsewhere.
template <class Segment>
struct CodedTile {
    std::vector<Bounds> bounds;
    std::vector<std::vector<Segment>> segments;
};

// What tiles are coded by.
struct TileCoder {
    const Model& model;
    const Adaptation& adaptation;
    const Kernels& kernels;

    CodedTile<std::vector<uint8_t>> encode(const Pixels& pixels, int streams, ThreadPool& pool) const;

    // Decodes the levels from the coarsest to `finest` into every 2**finest'th pixel; `lowpass` alone where that is
    // kLevels. Returns what is wrong with the data, or nothing.
    std::string decode(const CodedTile<Bytes>& tile, const Pixels& lowpass, const TileRect& place, int finest,
                       const Pixels& pixels, ThreadPool& pool) const;
};

}  // namespace llicti
