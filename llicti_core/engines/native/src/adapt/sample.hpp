// Pixels of an image that an adaptation is fitted to.
#pragma once

#include <vector>

#include "kernels/kernels.hpp"
#include "pyramid.hpp"

namespace llicti {

constexpr int kMaxSampledTiles = 4;  // of a large image, that samples are taken from

struct PyramidTile {
    std::vector<Level> levels;
    std::vector<Bounds> bounds;
};

// The tiles that are looked at: all of a small image, or some that are spread over it.
std::vector<PyramidTile> build_sampled_tiles(const std::vector<Pixels>& tiles, ThreadPool& pool);

// What is sampled, and by what.
struct SampleSource {
    std::vector<PyramidTile>& tiles;
    const Model& model;
    const Adaptation& none;
    const Kernels& kernels;
    ThreadPool& pool;
};

// A sample of one band of one level: chunks to fit to, then chunks to judge by.
struct Samples {
    std::vector<SampleChunk> chunks;
    int fitted;       // how many chunks are fitted to
    int judged_from;  // and the first of those that judge: of a band sampled whole, all do both
    int64_t pixels;   // of the whole band, in the tiles looked at
    bool hidden;      // whether activations are sampled, and hidden biases worth a try
};

// most: pixels that are fitted to, at most; half as many more judge. No chunks where the band is too small for a fit.
Samples draw_samples(const SampleSource& source, int64_t most, int level, const Band& band);

}  // namespace llicti
