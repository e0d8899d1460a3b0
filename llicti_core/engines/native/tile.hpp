// One tile: pixels to streams and back, through the pyramid.
#pragma once

#include <string>
#include <vector>

#include "pyramid.hpp"

namespace llicti {

struct Bytes {
    const uint8_t* data;
    size_t size;
};

// A coded tile: segments are by scale, coarsest first, then by stream.
struct CodedTile {
    std::vector<Range> ranges;
    std::vector<std::vector<std::vector<uint8_t>>> segments;
};

// A tile to decode: the finer scales, which nobody asks for, may be missing. `top` and `left` say where among the
// decoded pixels, subsampled as they are asked for, it begins; `height` and `width` are its own.
struct TileView {
    int top, left, height, width;
    std::vector<Range> ranges;
    Pixels coarse;
    std::vector<std::vector<Bytes>> segments;
};

CodedTile encode_tile(const Pixels& pixels, const Model& model, const Corrections& corrections, const Kernels& kernels,
                      int streams, Team& team);

// Decodes the scales from the coarsest to `finest` into every 2**finest'th pixel; the coarsest phase alone where that is
// kScales. Returns what is wrong with the data, or nothing.
std::string decode_tile(const Pixels& pixels, const TileView& tile, int finest, const Model& model,
                        const Corrections& corrections, const Kernels& kernels, int streams, Team& team);

}  // namespace llicti
