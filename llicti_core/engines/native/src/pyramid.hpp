// The pyramid of a tile: planes with margins, the phases of each level, and what a band is predicted from
// (docs/format.md, clauses 3 and 4).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/kernels.hpp"
#include "threads.hpp"

namespace llicti {

// A view of interleaved 8-bit pixels, 1 or 3 channels.
struct Pixels {
    uint8_t* data;
    ptrdiff_t stride;  // bytes from row to row
    int height, width, channels;
};

constexpr int kMargin = 2;  // pixels of a phase that contexts reach beyond its edges
constexpr int kPhaseRow[4] = {0, 1, 0, 1};
constexpr int kPhaseColumn[4] = {0, 1, 1, 0};

// A plane of values with a margin in which the nearest ones are repeated. A new one's values are undefined: whoever
// makes it fills it, and its memory is first touched by the threads that do.
class Plane {
public:
    Plane() = default;
    Plane(int height, int width)
        : height_(height),
          width_(width),
          stride_(width + 2 * kMargin),
          values_(new int16_t[size_t(stride_) * (height + 2 * kMargin)]) {}

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
    std::unique_ptr<int16_t[]> values_;
};

using Image = std::vector<Plane>;  // by channel

// A plane for each channel.
Image new_image(int height, int width, int channels);

// The four phases of a level, by phase and channel.
struct Level {
    Image phase[4];

    // The phases of an image of `height` x `width`, but for those before `first`.
    Level(int height, int width, int channels, int first = 0) {
        for (int i = first; i < 4; i++) {
            phase[i] = new_image((height + 1 - kPhaseRow[i]) / 2, (width + 1 - kPhaseColumn[i]) / 2, channels);
        }
    }

    void fill_margin(int i) {
        for (Plane& plane : phase[i]) plane.fill_margin();
    }
};

// Whether work of a few nanoseconds on each of `height` x `width` pixels is too little for several threads.
inline bool is_light(int height, int width) { return int64_t(height) * width < 32768; }

// Calls visit(value in the image, value in its phase) for every value of a level. Every other row of a channel is a
// task: no two tasks touch the same row.
template <class Visit>
void for_each_pair(Image& image, Level& level, ThreadPool& pool, Visit visit) {
    const auto visit_rows = [&](int task) {
        const int c = task / 2, parity = task % 2;
        for (int row = parity; row < image[c].height(); row += 2) {
            for (int i = 0; i < 4; i++) {
                Plane& phase = level.phase[i][c];
                if (kPhaseRow[i] != parity || phase.empty()) continue;
                int16_t* whole = image[c].row(row) + kPhaseColumn[i];
                int16_t* part = phase.row(row / 2);
                for (int x = 0; x < phase.width(); x++) visit(whole[2 * x], part[x]);
            }
        }
    };
    pool.run(2 * int(image.size()), visit_rows, is_light(image[0].height(), image[0].width()));
}

// The colour transform, and back: what lies within `pixels` of an image that begins at row `top` and column `left`.
Image read_pixels(const Pixels& pixels, ThreadPool& pool);
void write_pixels(const Image& image, int top, int left, const Pixels& pixels, ThreadPool& pool);

// The least and greatest value of each channel.
std::vector<Bounds> find_bounds(const Image& image, ThreadPool& pool);

// All levels of an image, finest first, their margins filled.
std::vector<Level> build_pyramid(Image& image, ThreadPool& pool);

int64_t band_pixels(const Level& level, const Band& band);

// What coding `band` of `level`, number `index`, takes.
BandContext band_context(const Model& model, const Adaptation& adaptation, const Band& band, int index, Level& level,
                         const std::vector<Bounds>& bounds);

}  // namespace llicti
