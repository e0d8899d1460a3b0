// From rows of values to planes by lane and back.
#include "planes.hpp"

#include <algorithm>

namespace llicti {

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
