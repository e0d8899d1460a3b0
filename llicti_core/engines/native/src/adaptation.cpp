// From the payload of an ADPT section to adapted networks.
#include "adaptation.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "problem.hpp"

namespace llicti {
namespace {

constexpr int kNumbers = kAdaptedMax - kAdaptedMin + 1;

[[noreturn]] void damaged(const std::string& what) { throw FormatProblem("section b'ADPT' " + what); }

// Where the numbers' intervals begin for one spread, kAdaptedMin first; and for each 256th of the slots the number that
// holds its first one.
struct NumberTable {
    explicit NumberTable(int spread) {
        const int scale = kSpreadMantissa[spread & 7] >> (spread >> 3);
        for (int n = 1; n < kNumbers; n++) {
            const int distance = 16 * (n + kAdaptedMin) - 8;
            const int position = std::min(std::abs(distance) * scale >> 7, kMaxPosition);
            const int knot = position >> 8, fraction = position & 255;
            const int tail = kCdfTail[knot] - (((kCdfTail[knot] - kCdfTail[knot + 1]) * fraction) >> 8);
            const int logistic = distance < 0 ? tail : 65535 - tail;
            cdf_low[n] = uint32_t(n + int((65280 * int64_t(logistic)) >> 16));
        }
        cdf_low[0] = 0;
        cdf_low[kNumbers] = 65536;
        for (int i = 0, n = 0; i < 256; i++) {
            while (cdf_low[n + 1] <= uint32_t(i) << 8) n++;
            start[i] = uint8_t(n);
        }
    }

    uint32_t cdf_low[kNumbers + 1];
    uint8_t start[256];
};

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

// Calls visit(what it changes, numbers of it) for every array of an adaptation, in the order of the file.
struct Target {
    Network* network;
    NetworkKind kind;
    enum { kWeight, kHiddenBias, kGain, kBias } part;
    int layer, set;
};

template <class Visit>
void for_each_array(Networks& networks, int channels, int sets, Visit visit) {
    for (int kind = kLuma; kind < (channels == 1 ? 1 : kNetworks); kind++) {
        for (Network& network : networks[kind]) {
            const int depth = int(network.layers.size()) - 1;
            Target target{&network, NetworkKind(kind), Target::kWeight, 0, 0};
            for (int layer = 0; layer <= depth; layer++) {
                target.layer = layer;
                visit(target, network.layers[layer].weight.size());
            }
            target.part = Target::kHiddenBias;
            for (int layer = 0; layer < depth; layer++) {
                target.layer = layer;
                for (target.set = 0; target.set < sets; target.set++) visit(target, size_t(network.layers[layer].out));
            }
            for (const auto part : {Target::kGain, Target::kBias}) {
                target.part = part;
                for (target.set = 0; target.set < sets; target.set++) visit(target, network.gain.size() / kBiasLevels);
            }
        }
    }
}

// By how much a change of 1 moves a weight of an output: 2**shift / multiplier.
int weight_shift(const Target& target, int output) {
    if (target.layer + 1 < int(target.network->layers.size())) {
        return target.layer ? kHiddenWeightShift : kFirstWeightShift;
    }
    switch (output_kind(target.kind, output)) {
        case kSpread:
            return kSpreadWeightShift;
        case kMean:
            return kMeanWeightShift;
        case kLogit:
            return kLogitWeightShift;
        default:
            return kCoefficientWeightShift;
    }
}

// floor((number * 2**shift + (multiplier >> 1)) / multiplier)
int32_t change(int number, int shift, int32_t multiplier) {
    const int64_t moved = int64_t(number) * (int64_t(1) << shift) + (multiplier >> 1);
    return int32_t(moved / multiplier - (moved % multiplier < 0));
}

void apply(const Target& target, int sets, int precision, const int8_t* numbers) {
    Layer& layer = target.network->layers[target.layer];
    const int last = target.set == sets - 1 ? kBiasLevels : target.set + 1;  // levels [set, last)
    if (target.part == Target::kWeight) {
        for (int o = 0; o < layer.out; o++) {
            const int shift = weight_shift(target, o) - precision;
            int32_t changes[kNumbers];
            for (int n = 0; n < kNumbers; n++) changes[n] = 0;
            bool known[kNumbers] = {};
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
    if (target.part == Target::kHiddenBias) {
        for (int o = 0; o < layer.out; o++) {
            const int64_t delta = change(numbers[o], kHiddenBiasShift - precision, layer.multiplier[o]);
            for (int level = target.set; level < last; level++) {
                int32_t& bias = layer.bias[size_t(level) * size_t(layer.out) + o];
                const int64_t moved = bias + delta;
                // One this far out breaks the bound, and so does what it is cut to.
                bias = int32_t(std::clamp<int64_t>(moved, INT32_MIN + 1, INT32_MAX));
            }
        }
        return;
    }
    std::vector<int8_t>& changed = target.part == Target::kGain ? target.network->gain : target.network->bias;
    const size_t outputs = changed.size() / kBiasLevels;
    for (int level = target.set; level < last; level++) {
        std::copy_n(numbers, outputs, &changed[size_t(level) * outputs]);
    }
}

bool within_bounds(const Layer& layer, bool first) {
    const int64_t most = first ? -kInputMin : kActivationMax;
    for (int o = 0; o < layer.out; o++) {
        int64_t sum = 0, bias = 0;
        const int8_t* weight = &layer.weight[size_t(o) * size_t(layer.in)];
        for (int k = 0; k < layer.in; k++) {
            if (weight[k] < -kWeightMax) return false;
            sum += std::abs(int(weight[k]));
        }
        for (int level = 0; level < kBiasLevels; level++) {
            bias = std::max(bias, std::abs(int64_t(layer.bias[size_t(level) * size_t(layer.out) + o])));
        }
        const int64_t reach = most * sum + bias, multiplier = layer.multiplier[o];
        if (multiplier < 1 || 3 * reach >= int64_t(1) << 31) return false;
        if (reach * multiplier >= (int64_t(1) << 31) - (1 << kHiddenShift)) return false;
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
    for_each_array(networks, channels, sets, [&](const Target&, size_t count) {
        arrays++;
        longest = std::max(longest, count);
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
    for_each_array(networks, channels, sets, [&](const Target& target, size_t count) {
        if (!has(array++)) return;
        reader.read(*spread++, numbers.data(), count);
        apply(target, sets, precision, numbers.data());
    });
    reader.finish();
    if (!within_bounds(networks)) damaged("lets an accumulator overflow 32 bits");
    return networks;
}

}  // namespace llicti
