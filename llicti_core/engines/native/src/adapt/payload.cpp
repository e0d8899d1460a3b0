// What the file says of an adaptation: arrays of small numbers, and what they cost (docs/format.md, ADPT).
#include "adapt/payload.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "spec.hpp"

namespace llicti::fitting {
namespace {

constexpr int kSpreads = kMaxSpreadIndex + 1;

int logistic(int distance, int spread) {
    const int scale = kSpreadMantissa[size_t(spread & 7)] >> (spread >> 3);
    const int position = std::min((std::abs(distance) * scale) >> 7, kMaxPosition);
    const size_t knot = size_t(position >> 8);
    const int tail = kCdfTail[knot] - (((kCdfTail[knot] - kCdfTail[knot + 1]) * (position & 255)) >> 8);
    return distance < 0 ? tail : 65535 - tail;
}

uint32_t cumulative(int number, int spread) {
    if (number <= -128) return 0;
    if (number > 127) return 65536;
    return uint32_t(number + 128 + int((65280 * int64_t(logistic(16 * number - 8, spread))) >> 16));
}

// Bits of each number, by spread.
struct Costs {
    float bits[kSpreads][256];

    Costs() {
        for (int spread = 0; spread < kSpreads; spread++) {
            for (int i = 0; i < 256; i++) {
                const int number = i - 128;
                bits[spread][i] = 16 - std::log2(float(cumulative(number + 1, spread) - cumulative(number, spread)));
            }
        }
    }
};

const Costs& costs() {
    static const Costs table;
    return table;
}

// Codes numbers from the last to the first.
class Encoder {
public:
    void put(uint32_t cdf_low, uint32_t frequency) {
        if (state_ >= uint64_t(frequency) << 16) {
            words_.push_back(uint16_t(state_));
            state_ >>= 16;
        }
        state_ = (state_ / frequency << 16) + state_ % frequency + cdf_low;
    }

    void finish(std::vector<uint8_t>& out) const {
        for (int shift = 0; shift < 32; shift += 8) out.push_back(uint8_t(state_ >> shift));
        for (size_t i = words_.size(); i-- > 0;) {
            out.push_back(uint8_t(words_[i]));
            out.push_back(uint8_t(words_[i] >> 8));
        }
    }

private:
    uint32_t state_ = 65536;
    std::vector<uint16_t> words_;
};

}  // namespace

Histogram count_numbers(const int8_t* numbers, size_t count) {
    Histogram histogram{};
    for (size_t i = 0; i < count; i++) histogram[size_t(numbers[i] + 128)]++;
    return histogram;
}

ArrayCost cheapest(const Histogram& histogram) {
    int first = 0, last = 255;
    while (first < 255 && !histogram[size_t(first)]) first++;
    while (last > first && !histogram[size_t(last)]) last--;
    ArrayCost best{0, INFINITY};
    for (int spread = 0; spread < kSpreads; spread++) {
        double bits = 0;
        for (int i = first; i <= last; i++) bits += histogram[size_t(i)] * double(costs().bits[spread][i]);
        if (bits < best.bits) best = {spread, bits};
    }
    return best;
}

std::vector<uint8_t> pack_numbers(int sets, int precision, const std::vector<std::vector<int8_t>>& arrays) {
    std::vector<uint8_t> out{uint8_t(sets), uint8_t(precision)};
    out.resize(2 + (arrays.size() + 7) / 8);
    std::vector<int> spreads(arrays.size(), -1);
    for (size_t a = 0; a < arrays.size(); a++) {
        if (std::all_of(arrays[a].begin(), arrays[a].end(), [](int8_t n) { return n == 0; })) continue;
        out[2 + (a >> 3)] |= uint8_t(1 << (a & 7));
        spreads[a] = cheapest(count_numbers(arrays[a].data(), arrays[a].size())).spread;
        out.push_back(uint8_t(spreads[a]));
    }
    Encoder encoder;
    bool any = false;
    for (size_t a = arrays.size(); a-- > 0;) {
        if (spreads[a] < 0) continue;
        any = true;
        for (size_t i = arrays[a].size(); i-- > 0;) {
            const uint32_t low = cumulative(arrays[a][i], spreads[a]);
            encoder.put(low, cumulative(arrays[a][i] + 1, spreads[a]) - low);
        }
    }
    if (!any) return {};
    encoder.finish(out);
    return out;
}

}  // namespace llicti::fitting
