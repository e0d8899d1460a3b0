// What the file says of an adaptation: arrays of small numbers, and what they cost (docs/format.md, ADPT).
#include "adapt/payload.hpp"

#include <algorithm>
#include <cmath>

namespace llicti::fitting {
namespace {

constexpr int kSpreads = kMaxSpreadIndex + 1;

// Bits of each number, by spread.
struct Costs {
    float bits[kSpreads][kAdaptedNumbers];

    Costs() {
        for (int spread = 0; spread < kSpreads; spread++) {
            const NumberTable table(spread);
            for (int n = 0; n < kAdaptedNumbers; n++) {
                bits[spread][n] = 16 - std::log2(float(table.cdf_low[n + 1] - table.cdf_low[n]));
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
    uint32_t state_ = uint32_t(kStateMin);
    std::vector<uint16_t> words_;
};

}  // namespace

Histogram count_numbers(const int8_t* numbers, size_t count) {
    Histogram histogram{};
    for (size_t i = 0; i < count; i++) histogram[size_t(numbers[i] - kAdaptedMin)]++;
    return histogram;
}

ArrayCost cheapest(const Histogram& histogram) {
    int first = 0, last = kAdaptedNumbers - 1;
    while (first < last && !histogram[size_t(first)]) first++;
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
        const NumberTable table(spreads[a]);
        for (size_t i = arrays[a].size(); i-- > 0;) {
            const int n = arrays[a][i] - kAdaptedMin;
            encoder.put(table.cdf_low[n], table.cdf_low[n + 1] - table.cdf_low[n]);
        }
    }
    if (!any) return {};
    encoder.finish(out);
    return out;
}

}  // namespace llicti::fitting
