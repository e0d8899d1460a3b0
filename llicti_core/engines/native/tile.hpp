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

struct TileView {
    std::vector<Range> ranges;
    Pixels coarse;
    std::vector<std::vector<Bytes>> segments;
};

CodedTile encode_tile(const Pixels& pixels, const Model& model, const Corrections& corrections, const Kernels& kernels,
                      int streams, Team& team);

// Returns what is wrong with the data, or nothing.
std::string decode_tile(const Pixels& pixels, const TileView& tile, const Model& model, const Corrections& corrections,
                        const Kernels& kernels, int streams, Team& team);

}  // namespace llicti
