// The pyramid of a tile: planes with margins, the phases of each scale, and what a band is predicted from
// (docs/format.md, clauses 3 and 4).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels.hpp"

namespace llicti {

// A view of interleaved 8-bit pixels, 1 or 3 channels.
struct Pixels {
    uint8_t* data;
    ptrdiff_t stride;  // bytes from row to row
    int height, width, channels;
};

constexpr int kMargin = 2;          // pixels of a phase that contexts reach beyond its edges
constexpr int kPhaseRow[4] = {0, 1, 0, 1};
constexpr int kPhaseColumn[4] = {0, 1, 1, 0};

// A plane of values with a margin in which the nearest ones are repeated.
class Plane {
public:
    Plane() = default;
    Plane(int height, int width)
        : height_(height), width_(width), stride_(width + 2 * kMargin),
          values_(size_t(stride_) * (height + 2 * kMargin)) {}

    int height() const { return height_; }
    int width() const { return width_; }
    ptrdiff_t stride() const { return stride_; }
    bool empty() const { return !height_ || !width_; }
    int16_t* row(int y) { return &values_[size_t(y + kMargin) * stride_ + kMargin]; }
    const int16_t* row(int y) const { return &values_[size_t(y + kMargin) * stride_ + kMargin]; }

    void fill_margin() {
        if (empty()) return;
        for (int y = 0; y < height_; y++) {
            int16_t* values = row(y);
            std::fill(values - kMargin, values, values[0]);
            std::fill(values + width_, values + width_ + kMargin, values[width_ - 1]);
        }
        const size_t bytes = size_t(stride_) * sizeof(int16_t);
        for (int m = 1; m <= kMargin; m++) {
            std::memcpy(row(-m) - kMargin, row(0) - kMargin, bytes);
            std::memcpy(row(height_ - 1 + m) - kMargin, row(height_ - 1) - kMargin, bytes);
        }
    }

private:
    int height_ = 0, width_ = 0;
    ptrdiff_t stride_ = 0;
    std::vector<int16_t> values_;
};

using Image = std::vector<Plane>;  // by channel

// The four phases of a scale, by phase and channel.
struct Scale {
    Image phase[4];

    Scale(int height, int width, int channels) {
        for (int i = 0; i < 4; i++) {
            phase[i].assign(size_t(channels),
                            Plane((height + 1 - kPhaseRow[i]) / 2, (width + 1 - kPhaseColumn[i]) / 2));
        }
    }

    void fill_margin(int i) {
        for (Plane& plane : phase[i]) plane.fill_margin();
    }
};

// Calls visit(value in the image, value in its phase) for every value of a scale.
template <class Visit>
void for_each_pair(Image& image, Scale& scale, Visit visit) {
    for (size_t c = 0; c < image.size(); c++) {
        for (int i = 0; i < 4; i++) {
            Plane& phase = scale.phase[i][c];
            for (int y = 0; y < phase.height(); y++) {
                int16_t* whole = image[c].row(2 * y + kPhaseRow[i]) + kPhaseColumn[i];
                int16_t* part = phase.row(y);
                for (int x = 0; x < phase.width(); x++) visit(whole[2 * x], part[x]);
            }
        }
    }
}

// A plane for each channel, of undefined values.
Image new_image(int height, int width, int channels);

// The colour transform, and back.
Image read_pixels(const Pixels& pixels);
void write_pixels(const Image& image, const Pixels& pixels);

// The least and greatest value of each channel.
std::vector<Range> find_ranges(const Image& image);

// All scales of an image, finest first, their margins filled.
std::vector<Scale> build_pyramid(Image image);

int64_t band_pixels(const Scale& scale, const Band& band);

// What coding `band` of `scale`, number `index`, takes.
BandContext band_context(const Model& model, const Corrections& corrections, const Band& band, int index, Scale& scale,
                         const std::vector<Range>& ranges);

}  // namespace llicti
