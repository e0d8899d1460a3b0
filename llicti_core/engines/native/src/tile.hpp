// One tile: pixels to streams and back (docs/format.md, clauses 3, 4 and 7).
#pragma once

#include <vector>

#include "planes.hpp"
#include "threads.hpp"

namespace llicti {

// Where a tile is in the image, or among the decoded pixels, subsampled as they are asked for; height and width are its
// own, not subsampled.
struct TileRect {
    int y, x, height, width;
};

struct Bytes {
    const uint8_t* data;
    size_t size;
};

// segments: by kind, then by stream. The first kind is of all levels from kCoarseLevel on; then of each finer level its
// luma and, with three channels, its chroma. To be decoded, the finer levels, which nobody asks for, may be missing.
// The lowpass is elsewhere.
template <class Segment>
struct CodedTile {
    std::vector<Bounds> bounds;
    std::vector<std::vector<Segment>> segments;
};

int stream_count(int height);

// What tiles are coded by.
struct TileCoder {
    const Model& model;
    const PackedNetworks& networks;
    const Kernels& kernels;

    CodedTile<std::vector<uint8_t>> encode(const Pixels& pixels, ThreadPool& pool) const;

    // Decodes the levels down to `view` into every 2**view'th pixel. Throws FormatProblem.
    void decode(const CodedTile<Bytes>& tile, const Pixels& lowpass, const TileRect& place, int view,
                const Pixels& pixels, ThreadPool& pool) const;
};

}  // namespace llicti
