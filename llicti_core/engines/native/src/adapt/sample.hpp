// Pixels of an image that an adaptation is fitted to.
#pragma once

#include <vector>

#include "kernels/adapt.hpp"
#include "planes.hpp"

namespace llicti::fitting {

// What is looked at: all of a small image, or parts spread over it.
struct Sampled {
    std::vector<Crop> crops;
    int channels;
    double pixels;  // of the whole image
    double share;   // of it that crops hold
    ValueBounds bounds;
};

Sampled sample_image(const std::vector<Pixels>& tiles);

BandShape band_shape(const Band& band);

CropBand crop_band(const Crop& crop, const BandShape& shape, int level);

// The pixels of one band in all crops, by set of levels: each set in an order that is spread over the image from
// everywhere, and goes on without end.
class BandPixels {
public:
    BandPixels(const Sampled& sampled, const Band& band, int sets);

    // Pixels of a set: in the crops, and in the whole image.
    int64_t count(int set) const { return sets_[size_t(set)].count; }
    double whole(int set) const { return double(count(set)) / share_; }

    // Fills a block with the pixels number `first` and on of a set, no more than there are in all.
    void fill(const FitKernels& kernels, int set, int64_t first, bool chroma, ContextBlock& block) const;

private:
    struct Set {
        std::vector<CropBand> parts;
        std::vector<int64_t> ends;  // of each part among the set's pixels
        int64_t count = 0, stride = 1;
    };

    const Sampled& sampled_;
    const BandShape shape_;
    double share_;
    std::vector<Set> sets_;
};

}  // namespace llicti::fitting
