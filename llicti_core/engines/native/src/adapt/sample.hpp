// Pixels of an image that an adaptation is fitted to.
#pragma once

#include <vector>

#include "kernels/adapt.hpp"
#include "model.hpp"
#include "planes.hpp"
#include "threads.hpp"

namespace llicti::fitting {

constexpr int kSets = 2;  // of levels: the finest one, which codes three quarters of the pixels, and the others

LevelView level_view(const Pixels& tile, int level);

// The pixels of all levels, in cells of one pixel of each phase.
class SampledImage {
public:
    SampledImage(const std::vector<Pixels>& tiles, const Model& model);

    int channels() const { return format_.channels; }
    int extra() const { return format_.extra(); }
    const BandView& view(int band) const { return views_[size_t(band)]; }

    // Cells of a set, and pixels of a band in them.
    int64_t cell_count(int set) const { return sets_[set].cell_count; }
    double pixels(int set, int band) const { return double(sets_[set].pixels[band]); }

    // Which places the network of a band sees; those of all networks.
    std::vector<int> seen(int band, bool chroma) const;
    std::vector<int> all_places() const;

    // Looks at the cells number `first` and on of a set: at kContexts of them, or as many as there are. They are in an
    // order that is spread over the image from everywhere, and goes on without end.
    void look(const FitKernels& kernels, int set, int64_t first, const std::vector<int>& wanted,
              CellBlock& cells) const;
    // Looks at given cells of a set, of which `count` count.
    void look_at(const FitKernels& kernels, int set, int count, const Spot (&spots)[kContexts],
                 const std::vector<int>& wanted, CellBlock& cells) const;

private:
    struct Set {
        std::vector<LevelView> levels;
        std::vector<int64_t> ends;  // of each level among the cells
        int64_t cell_count = 0, stride = 1, pixels[kBands] = {};
    };

    int place(Offset offset);

    PixelFormat format_;
    std::vector<Offset> places_;
    BandView views_[kBands];
    Set sets_[kSets];
};

// What was seen of the first cells of each set, those to fit to before those to judge by; bounds of the bands' values.
struct CellBlocks {
    std::vector<CellBlock> all;
    size_t fitted;         // how many of them are to fit to
    size_t first_judging;  // which of them is the first to judge by
    ValueBounds bounds;
};

// Looks at so many blocks of cells to fit to, and at others to judge by: fewer where the image has not so many, and
// the same ones where it has no more.
CellBlocks look_around(const SampledImage& image, const FitKernels& kernels, int fitted, int judging, ThreadPool& pool);

// Of each four blocks the last is of the coarser levels, as of pixels.
int set_of_block(const SampledImage& image, int block);

}  // namespace llicti::fitting
