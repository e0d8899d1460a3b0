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

// The pixels of all levels, in groups of one of each phase.
class Sample {
public:
    Sample(const std::vector<Pixels>& tiles, const Model& model);

    int channels() const { return samples_.channels; }
    int extra() const { return samples_.extra(); }
    const BandView& view(int band) const { return views_[size_t(band)]; }

    // Groups of a set, and pixels of a band in them.
    int64_t groups(int set) const { return sets_[set].groups; }
    double pixels(int set, int band) const { return double(sets_[set].pixels[band]); }

    // Which places the network of a band sees; those of all networks.
    std::vector<int> seen(int band, bool chroma) const;
    std::vector<int> all_places() const;

    // Looks at the groups number `first` and on of a set: at kContexts of them, or as many as there are. They are in an
    // order that is spread over the image from everywhere, and goes on without end.
    void look(const FitKernels& kernels, int set, int64_t first, const std::vector<int>& wanted, Patch& patch) const;
    // Looks at given groups of a set, of which `count` count.
    void look_at(const FitKernels& kernels, int set, int count, const Spot (&spots)[kContexts],
                 const std::vector<int>& wanted, Patch& patch) const;

private:
    struct Set {
        std::vector<LevelView> levels;
        std::vector<int64_t> ends;  // of each level among the groups
        int64_t groups = 0, stride = 1, pixels[kBands] = {};
    };

    int place(Offset offset);

    Samples samples_;
    std::vector<Offset> places_;
    BandView views_[kBands];
    Set sets_[kSets];
};

// What was seen of the first groups of each set, those to fit to before those to judge by; bounds of the bands' values.
struct Patches {
    std::vector<Patch> all;
    size_t fitted;         // how many of them are to fit to
    size_t first_judging;  // which of them is the first to judge by
    ValueBounds bounds;
};

// Looks at so many blocks of groups to fit to, and at others to judge by: fewer where the image has not so many, and
// the same ones where it has no more.
Patches look_around(const Sample& sample, const FitKernels& kernels, int fitted, int judging, ThreadPool& pool);

// Of each four blocks the last is of the coarser levels, as of pixels.
int set_of_block(const Sample& sample, int block);

}  // namespace llicti::fitting
