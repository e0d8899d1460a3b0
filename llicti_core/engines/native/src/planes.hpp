// From rows of values to planes by lane and back (docs/format.md, clause 4).
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "kernels/kernels.hpp"

namespace llicti {

constexpr int kPhases = 4;  // 00, 11, 01, 10
constexpr int kPhaseRow[kPhases] = {0, 1, 0, 1};
constexpr int kPhaseColumn[kPhases] = {0, 1, 1, 0};

// Of `size` rows (or columns) those that are multiples of 2**level.
inline int level_size(int size, int level) { return int((int64_t(size) + (int64_t(1) << level) - 1) >> level); }

// A view of interleaved pixels, 1 or 3 channels of 8 bits, or of 16 where values have kDeepBits.
struct Pixels {
    uint8_t* data;
    ptrdiff_t stride;  // bytes from row to row
    int height, width, channels;
    bool deep;

    // The first byte of a pixel.
    uint8_t* at(int y, int x) const { return data + y * stride + ptrdiff_t(x) * channels * (deep ? 2 : 1); }
};

// Values by row, channel after channel.
struct Raster {
    Raster(int height, int width, int channels)
        : height(height), width(width), channels(channels), values(new int16_t[size_t(height) * width * channels]) {}

    int height, width, channels;
    std::unique_ptr<int16_t[]> values;

    int16_t* row(int channel, int y) const { return &values[(size_t(channel) * height + y) * width]; }
};

// `width` pixels from (y, x) on to values of each channel, and back.
void read_row(const Kernels& kernels, const Pixels& from, int y, int x, int width, int16_t* const* to);
void write_row(const Kernels& kernels, const int16_t* const* from, const Pixels& to, int y, int x, int width);

// All phases' planes of one level.
class Planes {
public:
    // Planes of levels up to this size.
    Planes(const Geometry& largest, int channels)
        : channels_(channels), values_(new int16_t[largest.plane_size() * kPhases * channels]) {}

    // Starts on a level of rows x columns pixels of phase 00, and `height` x `width` of all phases.
    void reset(const Geometry& geometry, int height, int width) {
        geometry_ = geometry;
        height_ = height;
        width_ = width;
    }

    const Geometry& geometry() const { return geometry_; }
    int rows(int phase) const { return (height_ + 1 - kPhaseRow[phase]) / 2; }
    int columns(int phase) const { return (width_ + 1 - kPhaseColumn[phase]) / 2; }
    bool empty(int phase) const { return !rows(phase) || !columns(phase); }

    // The element of slot 0, lane 0. Phase 00 is taken in place of one without pixels.
    int16_t* plane(int phase, int channel) const {
        if (empty(phase)) phase = 0;
        return &values_[(size_t(phase) * channels_ + channel) * geometry_.plane_size() + kOrigin];
    }

    // Calls put(lane, y) for each lane of a row group and of its margins: where row y of `rows` is to be put.
    template <class Put>
    void for_each_lane(int group, int rows, Put put) const {
        for (int lane = -kMarginLanes; lane < kLanes + kMarginLanes; lane++) {
            const int y = group * kLanes + lane;
            if (y <= rows + kMarginLanes) put(lane, std::clamp(y, 0, rows - 1));
        }
    }

    // A phase's row, its values `apart` from each other, to a lane of a row group, its margins included.
    void put_row(int phase, int channel, int group, int lane, const int16_t* values, ptrdiff_t apart) const;

    // Fills what is around the pixels of `groups` row groups, once those are there.
    void fill_margins(int phase, int channel, int first_group, int groups) const;

    void get_row(int phase, int channel, int y, int16_t* out, ptrdiff_t apart) const;

private:
    // Calls visit(first element) for each place where row y is stored.
    template <class Visit>
    void for_each_place(int y, Visit visit) const {
        const int last = y / kLanes;  // of row -1, group 0
        for (int group = last - 1; group <= last + 1; group++) {
            const int lane = y - group * kLanes;
            if (group >= 0 && group < geometry_.groups && lane >= -kMarginLanes && lane < kLanes + kMarginLanes) {
                visit(geometry_.offset(group, lane));
            }
        }
    }

    int channels_;
    Geometry geometry_{1, 1};
    int height_ = 0, width_ = 0;
    std::unique_ptr<int16_t[]> values_;
};

}  // namespace llicti
