// From rows of values to planes by lane and back.
#include "planes.hpp"

#include <algorithm>

namespace llicti {

namespace {

constexpr int kDeepOffset = kYOffset << (kDeepBits - 8);

void read_deep_row(const uint16_t* from, int width, int channels, int16_t* const* to) {
    if (channels == 1) {
        for (int x = 0; x < width; x++) to[0][x] = int16_t(from[x] - kDeepOffset);
        return;
    }
    int16_t *luma = to[0], *orange = to[1], *green = to[2];
    for (int x = 0; x < width; x++, from += 3) {
        const int r = from[0], g = from[1], b = from[2];
        const int co = r - b, t = b + (co >> 1), cg = g - t;
        luma[x] = int16_t(t + (cg >> 1) - kDeepOffset);
        orange[x] = int16_t(co);
        green[x] = int16_t(cg);
    }
}

void write_deep_row(const int16_t* const* from, int width, int channels, uint16_t* to) {
    const auto sample = [](int value) { return uint16_t(value & (2 * kDeepOffset - 1)); };
    if (channels == 1) {
        for (int x = 0; x < width; x++) to[x] = sample(from[0][x] + kDeepOffset);
        return;
    }
    const int16_t *luma = from[0], *orange = from[1], *green = from[2];
    for (int x = 0; x < width; x++) {
        const int co = orange[x], cg = green[x], t = luma[x] + kDeepOffset - (cg >> 1);
        const int b = t - (co >> 1);
        to[3 * x] = sample(b + co);
        to[3 * x + 1] = sample(t + cg);
        to[3 * x + 2] = sample(b);
    }
}

}  // namespace

void read_row(const Kernels& kernels, const Pixels& from, int y, int x, int width, int16_t* const* to) {
    if (from.deep) {
        read_deep_row(reinterpret_cast<const uint16_t*>(from.at(y, x)), width, from.channels, to);
    } else {
        kernels.read_row(from.at(y, x), width, from.channels, to);
    }
}

void write_row(const Kernels& kernels, const int16_t* const* from, const Pixels& to, int y, int x, int width) {
    if (to.deep) {
        write_deep_row(from, width, to.channels, reinterpret_cast<uint16_t*>(to.at(y, x)));
    } else {
        kernels.write_row(from, width, to.channels, to.at(y, x));
    }
}

void Planes::put_row(int phase, int channel, int group, int lane, const int16_t* values, ptrdiff_t apart) const {
    const int width = columns(phase), end = geometry_.columns + 2;
    int16_t* const to = plane(phase, channel) + geometry_.offset(group, lane);
    for (int x = -2; x < 0; x++) to[x * kLaneStride] = values[0];
    for (int x = 0; x < width; x++) to[x * kLaneStride] = values[x * apart];
    for (int x = width; x < end; x++) to[x * kLaneStride] = values[(width - 1) * apart];
}

void Planes::fill_margins(int phase, int channel, int first_group, int groups) const {
    if (empty(phase)) return;
    int16_t* const target = plane(phase, channel);
    const int width = columns(phase), end = geometry_.columns + 2, count = rows(phase);
    const int first = first_group * kLanes, last = std::min(count, (first_group + groups) * kLanes) - 1;
    for (int y = first; y <= last; y++) {
        for_each_place(y, [&](ptrdiff_t offset) {
            int16_t* row = target + offset;
            const int16_t left = row[0], right = row[(width - 1) * kLaneStride];
            for (int x = -2; x < 0; x++) row[x * kLaneStride] = left;
            for (int x = width; x < end; x++) row[x * kLaneStride] = right;
        });
    }
    const auto repeat = [&](int y, int from) {
        const int16_t* source = target + geometry_.offset(from / kLanes, from % kLanes);
        for_each_place(y, [&](ptrdiff_t offset) {
            for (int x = -2; x < end; x++) target[offset + x * kLaneStride] = source[x * kLaneStride];
        });
    };
    if (first == 0 && last >= 0) {
        for (int y = -kMarginLanes; y < 0; y++) repeat(y, 0);
    }
    if (last == count - 1 && last >= first) {
        for (int y = count; y < geometry_.rows + kMarginLanes; y++) repeat(y, count - 1);
    }
}

void Planes::get_row(int phase, int channel, int y, int16_t* out, ptrdiff_t apart) const {
    const int16_t* from = plane(phase, channel) + geometry_.offset(y / kLanes, y % kLanes);
    const int width = columns(phase);
    for (int x = 0; x < width; x++) out[x * apart] = from[x * kLaneStride];
}

}  // namespace llicti
