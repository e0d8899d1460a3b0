// From the payload of an ADPT section to adapted networks.
#include "adaptation.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "adapted_arrays.hpp"
#include "problem.hpp"

namespace llicti {
namespace {

[[noreturn]] void damaged(const std::string& what) { throw FormatProblem("section b'ADPT' " + what); }

// Reads the numbers of the arrays that are present.
class NumberReader {
public:
    NumberReader(const uint8_t* data, size_t size) : next_(data), end_(data + size) {
        if (size < 4 || size % 2) damaged("has no state, or half a word");
        for (int i = 0; i < 4; i++) state_ |= uint32_t(*next_++) << 8 * i;
        if (state_ < uint32_t(kStateMin)) damaged("has a state below 65536");
    }

    void read(int spread, int8_t* numbers, size_t count) {
        const NumberTable table(spread);
        uint32_t state = state_;
        for (size_t i = 0; i < count; i++) {
            const uint32_t slot = state & 0xFFFF;
            int n = table.start[slot >> 8];
            while (table.cdf_low[n + 1] <= slot) n++;
            numbers[i] = int8_t(n + kAdaptedMin);
            state = (table.cdf_low[n + 1] - table.cdf_low[n]) * (state >> 16) + slot - table.cdf_low[n];
            if (state < uint32_t(kStateMin)) {
                if (next_ == end_) damaged("ends before its numbers do");
                state = state << 16 | uint32_t(next_[0]) | uint32_t(next_[1]) << 8;
                next_ += 2;
            }
        }
        state_ = state;
    }

    void finish() const {
        if (state_ != uint32_t(kStateMin) || next_ != end_) damaged("does not end where its numbers do");
    }

private:
    const uint8_t *next_, *end_;
    uint32_t state_ = 0;
};

// Calls visit(network, its kind, place) for every array of an adaptation, in the order of the file.
template <class Visit>
void for_each_array(Networks& networks, int channels, int sets, Visit visit) {
    for (int kind = kLuma; kind < (channels == 1 ? 1 : kNetworks); kind++) {
        for (Network& network : networks[kind]) {
            for_each_array(network, sets, [&](const ArrayPlace& place) { visit(network, NetworkKind(kind), place); });
        }
    }
}

void apply(Network& network, NetworkKind kind, const ArrayPlace& place, int sets, int precision,
           const int8_t* numbers) {
    Layer& layer = network.layers[place.layer];
    if (place.kind == ArrayKind::kWeight) {
        for (int o = 0; o < layer.out; o++) {
            const int shift = weight_shift(network, kind, place.layer, o) - precision;
            int32_t changes[kAdaptedNumbers];
            for (int n = 0; n < kAdaptedNumbers; n++) changes[n] = 0;
            bool known[kAdaptedNumbers] = {};
            int8_t* weight = &layer.weight[size_t(o) * size_t(layer.in)];
            const int8_t* row = numbers + size_t(o) * size_t(layer.in);
            for (int k = 0; k < layer.in; k++) {
                const int n = row[k] - kAdaptedMin;
                if (!row[k]) {
                    weight[k] = std::max(weight[k], int8_t(-kWeightMax));
                    continue;
                }
                if (!known[n]) {
                    known[n] = true;
                    changes[n] = change(row[k], shift, layer.multiplier[o]);
                }
                weight[k] = int8_t(std::clamp(weight[k] + changes[n], -kWeightMax, +kWeightMax));
            }
        }
        return;
    }
    for (int level = 0; level < kBiasLevels; level++) {
        if (set_of_level(level, sets) != place.set) continue;
        if (place.kind != ArrayKind::kHiddenBias) {
            std::vector<int8_t>& changed = place.kind == ArrayKind::kGain ? network.gain : network.shift;
            std::copy_n(numbers, place.count, &changed[size_t(level) * place.count]);
            continue;
        }
        for (int o = 0; o < layer.out; o++) {
            const int64_t delta = change(numbers[o], kHiddenBiasShift - precision, layer.multiplier[o]);
            int32_t& bias = layer.bias[size_t(level) * size_t(layer.out) + o];
            // One this far out breaks the bound, and so does what it is cut to.
            bias = int32_t(std::clamp<int64_t>(bias + delta, INT32_MIN + 1, INT32_MAX));
        }
    }
}

bool within_bounds(const Layer& layer, bool first) {
    for (int o = 0; o < layer.out; o++) {
        int64_t weights = 0, bias = 0;
        const int8_t* weight = &layer.weight[size_t(o) * size_t(layer.in)];
        for (int k = 0; k < layer.in; k++) {
            if (weight[k] < -kWeightMax) return false;
            weights += std::abs(int(weight[k]));
        }
        for (int level = 0; level < kBiasLevels; level++) {
            bias = std::max(bias, std::abs(int64_t(layer.bias[size_t(level) * size_t(layer.out) + o])));
        }
        if (!row_within_bounds(weights, bias, layer.multiplier[o], first)) return false;
    }
    return true;
}

}  // namespace

bool within_bounds(const Networks& networks) {
    for (const auto& bands : networks) {
        for (const Network& network : bands) {
            for (const Layer& layer : network.layers) {
                if (!within_bounds(layer, &layer == &network.layers[0])) return false;
            }
        }
    }
    return true;
}

Networks adapt(const Model& model, const uint8_t* payload, size_t size, int channels) {
    Networks networks = model.networks;
    if (!size) return networks;
    if (size < 2) damaged("has 1 byte");
    const int sets = payload[0], precision = payload[1];
    if (sets < 1 || sets > kMaxSets || precision > kMaxPrecision) {
        damaged("has " + std::to_string(sets) + " sets and precision " + std::to_string(precision));
    }
    size_t arrays = 0, present = 0, longest = 0;
    for_each_array(networks, channels, sets, [&](const Network&, NetworkKind, const ArrayPlace& place) {
        arrays++;
        longest = std::max(longest, place.count);
    });
    const size_t bitmap = (arrays + 7) / 8;
    if (size < 2 + bitmap) damaged("does not say which arrays it has");
    const auto has = [&](size_t array) { return payload[2 + array / 8] >> array % 8 & 1; };
    for (size_t array = 0; array < arrays; array++) present += has(array);
    for (size_t bit = arrays; bit < 8 * bitmap; bit++) {
        if (has(bit)) damaged("does not say which arrays it has");
    }
    const uint8_t* spread = payload + 2 + bitmap;
    const size_t rest = size - 2 - bitmap;
    if (rest < present || std::any_of(spread, spread + present, [](int s) { return s > kMaxSpreadIndex; })) {
        damaged("lacks a spread, or has one that is too great");
    }
    if (!present) {
        if (rest) damaged("goes on after its end");
        return networks;
    }
    NumberReader reader(spread + present, rest - present);
    std::vector<int8_t> numbers(longest);
    size_t array = 0;
    for_each_array(networks, channels, sets, [&](Network& network, NetworkKind kind, const ArrayPlace& place) {
        if (!has(array++)) return;
        reader.read(*spread++, numbers.data(), place.count);
        apply(network, kind, place, sets, precision, numbers.data());
    });
    reader.finish();
    if (!within_bounds(networks)) damaged("lets an accumulator overflow 32 bits");
    return networks;
}

}  // namespace llicti
