// The kernels, written once over the vectors of simd_<set>.hpp and compiled for each instruction set: a step codes one
// pixel of each lane.
//
// A set's header defines, in the same anonymous namespace, a class Simd with: kBlock lanes of 16 bits in a vector I16
// and half as many of 32 in I32; kRows outputs of a layer that are summed up together, for kTogether blocks of lanes at
// a time where all of these have pixels; Half, which loads and stores half a block where no more lanes have any, or
// void; whether inputs are stored as value + 128; and the operations used below. All are exact, so that every set gives
// the same bits.
//
// In an anonymous namespace, so that no copy compiled for one instruction set is linked into code for another.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/kernels.hpp"
#include "kernels/rows.hpp"

namespace llicti {
namespace {

constexpr int kCdfTotal = 1 << 16;
constexpr int kFine = 1 << kFineShift;  // means are in 1 / kFine of a pixel value
constexpr int kExtra = kDeepBits - 8;   // bits that deep values have beyond the network's unit
constexpr int kMaxQuads = kMaxWidth / 4;
static_assert(kMaxQuads >= (kMaxInputs + 3) / 4, "the scratch memory holds the inputs too");
static_assert(kLanes == 32, "lanes are bits of 32");
// Outputs of a hidden layer that are stored together: whole quads of the next layer's inputs.
constexpr int kStoredRows = 4;
static_assert(kStoredRows % Simd::kRows == 0, "rows that are summed up together are stored together");

// --- Packing ------------------------------------------------------------------------------------

constexpr int kLeastShort = 32, kMostShort = 8191;

inline void pack_layer(const Layer& layer, bool first, PackedLayer& packed) {
    constexpr int kRows = Simd::kRows;
    packed.in = layer.in;
    packed.out = layer.out;
    packed.rows = (layer.out + kStoredRows - 1) / kStoredRows * kStoredRows;
    packed.quads = (layer.in + 3) / 4;
    packed.bias.assign(size_t(kBiasLevels) * size_t(packed.rows), 0);
    packed.multiplier.assign(size_t(packed.rows), kLeastShort);
    for (int o = 0; o < layer.out; o++) {
        int32_t sum = 0;
        for (int k = 0; k < layer.in; k++) sum += layer.weight[size_t(o) * size_t(layer.in) + k];
        const int32_t offset = Simd::kUnsignedInputs && first ? 128 * sum : 0;
        for (int level = 0; level < kBiasLevels; level++) {
            packed.bias[size_t(level) * size_t(packed.rows) + o] =
                layer.bias[size_t(level) * size_t(layer.out) + o] - offset;
        }
        packed.multiplier[o] = layer.multiplier[o];
    }
    for (int row = 0; row < packed.rows; row += kRows) {
        bool is_short = true;
        for (int i = row; i < row + kRows; i++) {
            const int32_t m = packed.multiplier[i];
            is_short = is_short && m >= kLeastShort && m <= kMostShort;
        }
        packed.short_block.push_back(is_short);
    }
    for (const int32_t m : packed.multiplier) packed.short_multiplier.push_back(uint16_t(8 * m));
    Simd::pack_weights(layer, first, packed);
}

inline void pack(const Network& network, NetworkKind kind, PackedNetwork& packed) {
    packed.layers.resize(network.layers.size());
    for (size_t i = 0; i < network.layers.size(); i++) pack_layer(network.layers[i], i == 0, packed.layers[i]);
    packed.rows = packed.layers.back().rows;
    packed.gain.assign(size_t(kBiasLevels) * size_t(packed.rows), 0);
    packed.shift.assign(size_t(kBiasLevels) * size_t(packed.rows), 0);
    const int outputs = kOutputs[kind];
    for (int level = 0; level < kBiasLevels; level++) {
        for (int o = 0; o < outputs; o++) {
            const int from = level * outputs + o, to = level * packed.rows + o;
            packed.gain[to] = (1 << kGainShift) + network.gain[from];
            packed.shift[to] = network.shift[from] * 512 + 512;
        }
    }
}

// --- Wavefront ----------------------------------------------------------------------------------

// The lane whose row gets to a column at the step `since` steps after the stream's first pixel of it got there; as a
// bit, or 0.
inline uint32_t lane_at(const Pass& pass, const Wavefront& front, int since) {
    if (since < 0) return 0;
    const int group = since / pass.period, place = since - group * pass.period;
    if (group >= front.groups || place % kLaneDelay || place >= kLaneDelay * kLanes) return 0;
    const int lane = place / kLaneDelay;
    return (front.first_group + group) * kLanes + lane < pass.rows ? uint32_t(1) << lane : 0;
}

// To the next step, in which there need not be a pixel.
inline void advance(const Pass& pass, Wavefront& front) {
    const int step = ++front.step;
    front.done = step >= step_count(pass.period, pass.columns, front.groups);
    front.second = pass.columns > 1 ? front.first : 0;
    front.first = lane_at(pass, front, step);
    front.last = lane_at(pass, front, step - pass.columns + 1);
    front.active = (front.active & ~lane_at(pass, front, step - pass.columns)) | front.first;
    const int group = std::min(step / pass.period, front.groups - 1);
    front.newer = lanes_begun(step - group * pass.period);
    front.group = front.first_group + group;
    front.top = !group || front.stream[front.group] != front.stream[front.group - 1] ? 1 : 0;
}

// --- Network ------------------------------------------------------------------------------------

using I16 = Simd::I16;
using I32 = Simd::I32;
using Input = Simd::Input;  // of a layer, an activation too
constexpr int kBlock = Simd::kBlock, kBlocks = kLanes / kBlock, kTogether = Simd::kTogether;

// What kTogether blocks of lanes need between their inputs and their parameters: a layer's inputs and its activations,
// by quad and then by block.
struct Scratch {
    alignas(64) Input x[2][kMaxQuads * kTogether * 4 * kBlock];
};

// Of all lanes: the parameters, by output, and the bases.
struct Predicted {
    alignas(64) int16_t output[kMaxOutputRows][kLanes];
    alignas(64) int16_t base[3][kLanes];
};

// The blocks of lanes that a step works on, by their first lane: as few as hold all lanes that have a pixel. They begin
// anywhere, since a small image never has more than a few lanes at work. What two of them share is the same in both.
struct LaneBlocks {
    int count = 0;
    int first[kBlocks];

    explicit LaneBlocks(uint32_t active) {
        constexpr uint64_t kWhole = (uint64_t(1) << kBlock) - 1;
        for (int lane = 0; uint64_t(active) >> lane; lane++) {
            if (!(active >> lane & 1)) continue;
            lane = std::min(lane, kLanes - kBlock);
            first[count++] = lane;
            active &= ~uint32_t(kWhole << lane);
        }
    }
};

// What a value differs from its base by, in the network's unit, rounded.
template <int Extra>
inline I16 difference(I16 value, I16 base) {
    const I16 exact = Simd::sub(value, base);
    if constexpr (Extra == 0) return exact;
    return Simd::sra<Extra>(Simd::add(exact, Simd::set((1 << Extra) >> 1)));
}

// All of a block's lanes, as Simd::Half is half of them.
struct Whole {
    static I16 load(const int16_t* from) { return Simd::load(from); }
    static void store(int16_t* to, I16 a) { Simd::store(to, a); }
    static I16 lanes(uint32_t bits) { return Simd::lanes(bits); }
};

// The inputs of a block of lanes, or of half a block, at the slot `at` (an offset), in sixteen bits, and the bases.
template <int Extra, class Lanes>
inline void gather(const Pass& pass, const Wavefront& front, ptrdiff_t at, int lane, Predicted& predicted, Input* x) {
    const ptrdiff_t here = at + lane;
    I16 base[3];
    for (int c = 0; c < pass.bases; c++) {
        I16 sum = Simd::set(2);
        for (const int16_t* from : pass.nearest[c]) sum = Simd::add(sum, Lanes::load(from + here));
        base[c] = Simd::sra<2>(sum);
        Lanes::store(&predicted.base[c][lane], base[c]);
    }
    const auto known = [&](int i) { return difference<Extra>(Lanes::load(pass.source[i] + here), base[pass.base[i]]); };
    int quad = 0;
    for (; 4 * quad + 4 <= pass.known; quad++) {
        const int i = 4 * quad;
        Simd::store_inputs(x, quad, known(i), known(i + 1), known(i + 2), known(i + 3));
    }
    I16 rest[3 + 10 + 3 + 3];
    int count = 0;
    for (int i = 4 * quad; i < pass.known; i++) rest[count++] = known(i);
    // W, WW, NW, N, NE: 0 where they are outside the band, or of another stream, whose thread may be writing them now.
    const I16 inside[5] = {Lanes::lanes(~front.first >> lane), Lanes::lanes(~(front.first | front.second) >> lane),
                           Lanes::lanes(~(front.first | front.top) >> lane), Lanes::lanes(~front.top >> lane),
                           Lanes::lanes(~(front.last | front.top) >> lane)};
    constexpr int kNorth = -kLaneDelay * kLaneStride - 1;  // where the row above is
    constexpr int kBack[5] = {-kLaneStride, -2 * kLaneStride, kNorth - kLaneStride, kNorth, kNorth + kLaneStride};
    for (int c = 0; c < pass.channels; c++) {
        const I16 own = base[pass.bases - pass.channels + c];
        for (int i = 0; i < 5; i++) {
            const I16 value = Lanes::load(pass.target[c] + here + kBack[i]);
            rest[count++] = Simd::bit_and(difference<Extra>(value, own), inside[i]);
        }
    }
    rest[count++] = Simd::sra<Extra>(base[0]);
    for (int c = 1; c < pass.bases; c++) rest[count++] = Simd::sra<Extra + 1>(base[c]);
    while (count % 4) rest[count++] = Simd::set(0);
    for (int i = 0; i < count; i += 4, quad++) {
        Simd::store_inputs(x, quad, rest[i], rest[i + 1], rest[i + 2], rest[i + 3]);
    }
}

// In 32 bits a block of lanes is two parts; of half a block there is one, which then takes the place of both.
template <int parts>
constexpr int kBlocksOf = (parts + 1) / 2;
template <int parts>
constexpr int kUpper = parts == 1 ? 0 : 1;

// One hidden layer of so many parts of lanes.
template <int parts>
inline void hidden_layer(const PackedLayer& layer, int level, const Input* x, Input* y) {
    constexpr int kRows = Simd::kRows, blocks = kBlocksOf<parts>;
    const int32_t* bias = &layer.bias[size_t(level) * size_t(layer.rows)];
    for (int first = 0; first < layer.rows; first += kStoredRows) {
        I16 activation[blocks][kStoredRows];
        for (int row = first; row < first + kStoredRows; row += kRows) {
            I32 total[parts][kRows];
            Simd::accumulate<parts>(layer, row / kRows, bias + row, x, total);
            const int place = row - first;
            if (layer.short_block[size_t(row / kRows)]) {
                for (int i = 0; i < kRows; i++) {
                    const I16 multiplier = Simd::set(int16_t(layer.short_multiplier[size_t(row + i)]));
                    for (int b = 0; b < blocks; b++) {
                        const I16 sum = Simd::narrow_unsigned(total[2 * b][i], total[2 * b + kUpper<parts>][i]);
                        activation[b][place + i] = Simd::half_up(Simd::mulhi_unsigned(sum, multiplier));
                    }
                }
            } else {
                for (int i = 0; i < kRows; i++) {
                    const auto scaled = [&](I32 sum) {
                        return Simd::round_shift<kHiddenShift>(sum, layer.multiplier[size_t(row + i)]);
                    };
                    for (int b = 0; b < blocks; b++) {
                        const I16 rounded =
                            Simd::narrow(scaled(total[2 * b][i]), scaled(total[2 * b + kUpper<parts>][i]));
                        activation[b][place + i] = Simd::max(rounded, Simd::set(0));
                    }
                }
            }
        }
        for (int b = 0; b < blocks; b++) {
            for (int i = 0; i < kStoredRows; i += 4) {
                const I16* of = &activation[b][i];
                Simd::store_activations(y + b * 4 * kBlock, (first + i) / 4, of[0], of[1], of[2], of[3]);
            }
        }
    }
}

template <int parts, class Lanes>
inline void output_layer(const PackedNetwork& network, int level, const Input* x, const int* lane,
                         Predicted& predicted) {
    constexpr int kRows = Simd::kRows;
    const PackedLayer& layer = network.layers.back();
    const int32_t* bias = &layer.bias[size_t(level) * size_t(layer.rows)];
    const int32_t* gain = &network.gain[size_t(level) * size_t(layer.rows)];
    const int32_t* shift = &network.shift[size_t(level) * size_t(layer.rows)];
    for (int row = 0; row < layer.rows; row += kRows) {
        I32 total[parts][kRows];
        Simd::accumulate<parts>(layer, row / kRows, bias + row, x, total);
        for (int i = 0; i < kRows; i++) {
            const auto parameter = [&](I32 sum) {
                const I32 fine = Simd::round_shift<kOutputShift>(sum, layer.multiplier[row + i]);
                return Simd::affine_shift<kFineShift + kGainShift>(fine, gain[row + i], shift[row + i]);
            };
            for (int b = 0; b < kBlocksOf<parts>; b++) {
                Lanes::store(&predicted.output[row + i][lane[b]],
                             Simd::narrow(parameter(total[2 * b][i]), parameter(total[2 * b + kUpper<parts>][i])));
            }
        }
    }
}

// All that blocks of lanes, those from lane[0], lane[1] ... on, or half a block, are predicted by, at the slot `at` (an
// offset).
template <int Extra, int parts, class Lanes>
inline void predict_parts(const Pass& pass, const Wavefront& front, ptrdiff_t at, const int* lane, Scratch& scratch,
                          Predicted& predicted) {
    for (int b = 0; b < kBlocksOf<parts>; b++) {
        gather<Extra, Lanes>(pass, front, at, lane[b], predicted, scratch.x[0] + b * 4 * kBlock);
    }
    const PackedNetwork& network = *pass.network;
    const size_t depth = network.layers.size() - 1;
    for (size_t i = 0; i < depth; i++) {
        hidden_layer<parts>(network.layers[i], pass.bias_level, scratch.x[i % 2], scratch.x[1 - i % 2]);
    }
    output_layer<parts, Lanes>(network, pass.bias_level, scratch.x[depth % 2], lane, predicted);
}

// The same of all blocks.
template <int Extra>
inline void predict(const Pass& pass, const Wavefront& front, ptrdiff_t at, const LaneBlocks& blocks, Scratch& scratch,
                    Predicted& predicted) {
    if constexpr (!std::is_void_v<Simd::Half>) {
        if (blocks.count == 1 && !(uint64_t(front.active) >> (blocks.first[0] + kBlock / 2))) {
            predict_parts<Extra, 1, Simd::Half>(pass, front, at, blocks.first, scratch, predicted);
            return;
        }
    }
    int b = 0;
    for (; b + kTogether <= blocks.count; b += kTogether) {
        predict_parts<Extra, 2 * kTogether, Whole>(pass, front, at, blocks.first + b, scratch, predicted);
    }
    for (; b < blocks.count; b++) predict_parts<Extra, 2, Whole>(pass, front, at, blocks.first + b, scratch, predicted);
}

// --- Mixture ------------------------------------------------------------------------------------

// One channel's mixtures of a block of lanes (docs/format.md, clause 6), by component. A distance of a / kFine from the
// mean is at position (min(a, limit) * power * mantissa) >> 16 of the table of tails, or beyond its end.
struct Mixture {
    I16 weight[kComponents], mantissa[kComponents], power[kComponents], limit[kComponents];
    I16 origin[kComponents];  // kFine * (base + 1/2) + centre: the distance of x is kFine * x - origin
    I16 start, step;          // where and how widely to look for values first
    int low;
};

// (2^kReciprocalShift - 1) / sum, by the sum of a mixture's shares less the least one.
struct Reciprocals {
    Reciprocals() {
        for (int i = 0; i < kCount; i++) of[i] = uint16_t(((1 << kReciprocalShift) - 1) / (i + kWeightShare[0]));
    }
    static constexpr int kCount = (kComponents - 1) * kWeightShare[0] + 1;
    uint16_t of[kCount];
};

inline const Reciprocals& reciprocals() {
    static const Reciprocals table;
    return table;
}

constexpr Simd::Table kMantissas([](int i) { return kSpreadMantissa[i & 7]; });
constexpr Simd::Table kMasks([](int i) { return 0xFFFF << i & 0xFFFF; });  // scale << octave = mantissa & mask
constexpr Simd::Table kPowers([](int i) { return i < 9 ? 512 >> i : 1; });
constexpr Simd::Table kLimits([](int i) { return i < 11 ? 16 << i : 0; });
constexpr Simd::Table kShares([](int i) { return 2 * kWeightShare[i]; });
constexpr Simd::Table kDivisors([](int i) { return 32768 >> i; });
constexpr Simd::Table kTails([](int i) { return kCdfTail[i]; });
constexpr Simd::Table kSlopes([](int i) { return kCdfTail[i] - kCdfTail[i + 1]; });
// 6144 log(p / (1 - p)) for p = (i + 1/2) / 16: where a logistic distribution has its 16 parts, with half as much again
// for the other components beside it, and for spreads, which are up to 1.83 times 2**octave / 16.
constexpr int kLogit[8] = {769, 2331, 3973, 5765, 7821, 10360, 13939, 21100};
constexpr Simd::Table kLogits([](int i) { return i < 8 ? -kLogit[7 - i] : kLogit[i - 8]; });

// The weights, and everything about spreads. spread, logit: of component 0, in rows of kLanes.
inline void prepare(const Bounds& bounds, const int16_t (*spread)[kLanes], const int16_t (*logit)[kLanes], int lane,
                    Mixture& mixture) {
    I16 top = Simd::load(&logit[0][lane]);
    for (int k = 1; k < kComponents; k++) top = Simd::max(top, Simd::load(&logit[k][lane]));
    I16 sum = Simd::set(0);
    for (int k = 0; k < kComponents; k++) {
        // 16 bits hold the difference as an unsigned number.
        I16 below = Simd::sub(top, Simd::load(&logit[k][lane]));
        below = Simd::min_unsigned(below, Simd::set(kMaxLogitDifference));
        const I16 share = Simd::lookup(kShares, Simd::index(Simd::bit_and(below, Simd::set(15))));
        mixture.weight[k] = Simd::mulhi_unsigned(share, Simd::lookup(kDivisors, Simd::index(Simd::srl<4>(below))));
        sum = Simd::add(sum, mixture.weight[k]);

        const I16 index = Simd::min(Simd::max(Simd::load(&spread[k][lane]), Simd::set(0)), Simd::set(kMaxSpreadIndex));
        const auto octave = Simd::index(Simd::srl<3>(index));
        I16 mantissa = Simd::lookup(kMantissas, Simd::index(Simd::bit_and(index, Simd::set(7))));
        mantissa = Simd::bit_and(mantissa, Simd::lookup(kMasks, octave));
        // In octave 10 the power would be 1/2.
        mixture.mantissa[k] = Simd::blend(Simd::greater(index, Simd::set(79)), Simd::srl<1>(mantissa), mantissa);
        mixture.power[k] = Simd::lookup(kPowers, octave);
        mixture.limit[k] = Simd::lookup(kLimits, octave);
    }
    alignas(64) uint16_t parts[kBlock];
    Simd::store(reinterpret_cast<int16_t*>(parts), Simd::sub(sum, Simd::set(kWeightShare[0])));
    const Reciprocals& table = reciprocals();
    for (uint16_t& part : parts) part = table.of[part];
    const int values = bounds.high - bounds.low + 1;
    const I16 unit = Simd::mulhi_unsigned(Simd::load(reinterpret_cast<const int16_t*>(parts)),
                                          Simd::set(int16_t(kCdfTotal - values)));
    for (I16& weight : mixture.weight) {  // (share * unit) >> 11
        weight =
            Simd::bit_or(Simd::sll<5>(Simd::mulhi_unsigned(weight, unit)), Simd::srl<11>(Simd::mullo(weight, unit)));
    }
    mixture.low = bounds.low;
}

// The means. known: by how much, in value, the channel before differs from its base, and by which coefficients means
// follow it; null where they follow none.
template <int Extra>
inline void centre(const int16_t (*mean)[kLanes], const int16_t* base, const int16_t (*coefficient)[kLanes],
                   const int16_t* residual, int lane, Mixture& mixture) {
    const I16 half = Simd::add(Simd::sll<kFineShift - Extra>(Simd::load(base + lane)), Simd::set((kFine / 2) >> Extra));
    for (int k = 0; k < kComponents; k++) {
        I16 centre = Simd::load(&mean[k][lane]);
        if (coefficient) {
            const I16 factor = Simd::min(Simd::max(Simd::load(&coefficient[k][lane]), Simd::set(kCoefficientMin)),
                                         Simd::set(kCoefficientMax));
            const I16 known = Simd::load(residual + lane);
            // (product + 2) >> 2, of a product of 18 bits; or, of 20 bits, (product + 8) >> 4
            const I16 low = Simd::mullo(factor, known);
            const I16 high = Simd::sll<14 - Extra>(Simd::mulhi(factor, known));
            const I16 quarter = Simd::bit_or(high, Simd::srl<2 + Extra>(low));
            const I16 round = Simd::bit_and(Simd::srl<1 + Extra>(low), Simd::set(1));
            centre = Simd::add_saturated(centre, Simd::add(quarter, round));
        }
        centre = Simd::min(Simd::max(centre, Simd::set(-kMaxMean)), Simd::set(kMaxMean));
        mixture.origin[k] = Simd::add(half, centre);
    }
}

// Probability, of 65536, that the values of a block of lanes are below x; for x inside the bounds.
template <int Extra>
inline I16 cumulative(const Mixture& mixture, I16 x) {
    I16 sum = Simd::sub(x, Simd::set(int16_t(mixture.low)));
    const I16 fine = Simd::sll<kFineShift - Extra>(x);
    for (int k = 0; k < kComponents; k++) {
        const I16 distance = Simd::sub(fine, mixture.origin[k]);
        I16 position = Simd::min_unsigned(Simd::abs(distance), mixture.limit[k]);
        position = Simd::mulhi_unsigned(Simd::mullo(position, mixture.power[k]), mixture.mantissa[k]);
        position = Simd::min_unsigned(position, Simd::set(kMaxPosition));
        const auto knot = Simd::index_of_high_byte(position);
        const I16 slope = Simd::mulhi_unsigned(Simd::lookup(kSlopes, knot), Simd::sll<8>(position));
        const I16 tail = Simd::sub(Simd::lookup(kTails, knot), slope);
        sum = Simd::add(sum, Simd::mulhi_unsigned(Simd::flip_unless_negative(tail, distance), mixture.weight[k]));
    }
    return sum;
}

// --- Search and entropy coder -------------------------------------------------------------------

// Of every lane the value that its state points at, and that value's interval.
struct Found {
    alignas(64) int16_t value[kLanes];
    alignas(64) uint16_t cdf_low[kLanes], frequency[kLanes];
};

// Where to look first: where the slot would be if the heaviest component were all there is; then as far from it as that
// component is wide.
template <int Extra>
inline void aim(Mixture& mixture, const Bounds& bounds, I16 slot) {
    I16 most = mixture.weight[0], origin = mixture.origin[0], limit = mixture.limit[0];
    for (int k = 1; k < kComponents; k++) {
        const auto heavier = Simd::greater_unsigned(mixture.weight[k], most);
        most = Simd::blend(heavier, mixture.weight[k], most);
        origin = Simd::blend(heavier, mixture.origin[k], origin);
        limit = Simd::blend(heavier, mixture.limit[k], limit);
    }
    const I16 away = Simd::mulhi(limit, Simd::lookup(kLogits, Simd::index(Simd::srl<12>(slot))));
    const I16 guess = Simd::sra<kFineShift - Extra>(Simd::add(origin, away));
    mixture.start = Simd::min(Simd::max(guess, Simd::set(int16_t(bounds.low + 1))), Simd::set(int16_t(bounds.high)));
    mixture.step = Simd::max(Simd::srl<8 - Extra>(limit), Simd::set(2));
}

template <int Extra>
inline void search(const Mixture* mixtures, const Bounds& bounds, const uint32_t* state, uint32_t active,
                   const LaneBlocks& lane_blocks, Found& found) {
    using Mask = Simd::Mask;
    struct Block {
        I16 slot, low, high, cdf_low, cdf_high, trial, step;
        Mask open, first, bracketed;
    };
    Block blocks[kBlocks];
    const I16 one = Simd::set(1);
    for (int b = 0; b < lane_blocks.count; b++) {
        Block& block = blocks[b];
        block.slot = Simd::low_halves(state + lane_blocks.first[b]);
        block.low = Simd::set(int16_t(bounds.low));
        block.high = Simd::set(int16_t(bounds.high + 1));
        block.cdf_low = block.cdf_high = Simd::set(0);  // 65536 is 0 in 16 bits
        block.trial = mixtures[b].start;
        block.step = mixtures[b].step;
        block.open = Simd::lane_mask(active >> lane_blocks.first[b]);
        block.bracketed = Simd::lane_mask(0);
        block.first = block.bracketed;
    }
    bool begun = false;
    for (bool any = true; any; begun = true) {
        any = false;
        for (int b = 0; b < lane_blocks.count; b++) {
            Block& block = blocks[b];
            if (!Simd::any(block.open)) continue;
            const I16 here = cumulative<Extra>(mixtures[b], block.trial);
            const Mask below = Simd::equal(Simd::min_unsigned(here, block.slot), here);
            const Mask up = Simd::mask_and(block.open, below), down = Simd::mask_and_not(below, block.open);
            block.low = Simd::blend(up, block.trial, block.low);
            block.cdf_low = Simd::blend(up, here, block.cdf_low);
            block.high = Simd::blend(down, block.trial, block.high);
            block.cdf_high = Simd::blend(down, here, block.cdf_high);
            if (!begun) block.first = below;
            block.bracketed = Simd::mask_or(block.bracketed, Simd::mask_xor(below, block.first));
            const I16 width = Simd::sub(block.high, block.low);
            block.open = Simd::mask_and(block.open, Simd::greater(width, one));
            // Widening steps away from the start until the value lies between two trials, then halves.
            const I16 away = Simd::blend(below, Simd::add(block.low, block.step), Simd::sub(block.high, block.step));
            const I16 middle = Simd::add(block.low, Simd::srl<1>(width));
            const I16 next = Simd::blend(block.bracketed, middle, away);
            block.trial = Simd::max(Simd::min(next, Simd::sub(block.high, one)), Simd::add(block.low, one));
            block.step = Simd::add(block.step, block.step);
            any = any || Simd::any(block.open);
        }
    }
    for (int b = 0; b < lane_blocks.count; b++) {
        const int lane = lane_blocks.first[b];
        Simd::store(&found.value[lane], blocks[b].low);
        Simd::store(reinterpret_cast<int16_t*>(&found.cdf_low[lane]), blocks[b].cdf_low);
        Simd::store(reinterpret_cast<int16_t*>(&found.frequency[lane]),
                    Simd::sub(blocks[b].cdf_high, blocks[b].cdf_low));
    }
}

// The intervals of known values.
template <int Extra>
inline void intervals(const Mixture& mixture, const Bounds& bounds, I16 value, uint32_t active, uint32_t* out) {
    const I16 zero = Simd::set(0);
    const auto above_low = Simd::greater(value, Simd::set(int16_t(bounds.low)));
    const auto below_high = Simd::greater(Simd::set(int16_t(bounds.high)), value);
    const I16 low = Simd::blend(above_low, cumulative<Extra>(mixture, value), zero);
    const I16 high = Simd::blend(below_high, cumulative<Extra>(mixture, Simd::add(value, Simd::set(1))), zero);
    const auto lanes = Simd::lane_mask(active);
    alignas(64) int16_t cdf_low[kBlock], frequency[kBlock];
    Simd::store(cdf_low, Simd::blend(lanes, low, zero));
    Simd::store(frequency, Simd::blend(lanes, Simd::sub(high, low), zero));
    for (int i = 0; i < kBlock; i++) out[i] = uint32_t(uint16_t(cdf_low[i])) | uint32_t(uint16_t(frequency[i])) << 16;
}

// --- Steps --------------------------------------------------------------------------------------

// Where one decoded channel of a step goes: its slot, and where its first and last rows are repeated for the groups
// beside theirs.
inline void put(const Pass& pass, int channel, ptrdiff_t slot, uint32_t active, const int16_t* value) {
    int16_t* target = pass.target[channel];
    int16_t* here = target + slot * kLaneStride;
    if (active == ~uint32_t(0)) {
        std::memcpy(here, value, kLanes * sizeof(int16_t));
    } else {
        for (int lane = 0; lane < kLanes; lane++) {
            if (active >> lane & 1) here[lane] = value[lane];
        }
    }
    const ptrdiff_t apart = pass.period - kLaneDelay * kLanes;
    for (int i = 0; i < kMarginLanes; i++) {
        const int last = kLanes - kMarginLanes + i;
        if ((active >> last & 1) && slot + apart < pass.slots) {
            target[(slot + apart) * kLaneStride - kMarginLanes + i] = value[last];
        }
        if ((active >> i & 1) && slot - apart >= -kMarginSlots) {
            target[(slot - apart) * kLaneStride + kLanes + i] = value[i];
        }
    }
}

// Parts of the outputs that concern a channel of the pass.
struct ChannelOutputs {
    const int16_t (*spread)[kLanes];
    const int16_t (*mean)[kLanes];
    const int16_t (*logit)[kLanes];
    const int16_t (*coefficient)[kLanes];  // null where the channel's means follow no other channel
};

inline ChannelOutputs channel_outputs(const Pass& pass, int channel, const Predicted& predicted) {
    const int kind = pass.channels * kComponents;
    const int16_t (*first)[kLanes] = predicted.output + channel * kComponents;
    return {first, first + kind, first + 2 * kind, channel ? predicted.output + 3 * kind : nullptr};
}

template <int Extra>
inline void encode_steps(const Pass& pass, Wavefront& front, int steps, uint32_t* intervals_of_pass) {
    Scratch scratch;
    Predicted predicted{};  // of lanes that never had a pixel too, since whole blocks are searched
    const int coded =
        std::count_if(pass.bounds, pass.bounds + pass.channels, [](const Bounds& c) { return c.coded(); });
    for (; steps > 0; steps--) {
        advance(pass, front);
        if (front.done) break;
        const ptrdiff_t slot = ptrdiff_t(front.first_group) * pass.period + front.step;
        uint32_t* const out = intervals_of_pass + ptrdiff_t(front.step) * coded * kLanes;
        const LaneBlocks blocks(front.active);
        predict<Extra>(pass, front, slot * kLaneStride, blocks, scratch, predicted);
        if (~front.active) std::fill_n(out, coded * kLanes, uint32_t(0));
        for (int b = 0; b < blocks.count; b++) {
            const int lane = blocks.first[b];
            alignas(64) int16_t residual[kLanes] = {};
            uint32_t* next = out + lane;
            for (int c = 0; c < pass.channels; c++) {
                const I16 value = Simd::load(pass.target[c] + slot * kLaneStride + lane);
                if (pass.bounds[c].coded()) {
                    const ChannelOutputs outputs = channel_outputs(pass, c, predicted);
                    Mixture mixture;
                    prepare(pass.bounds[c], outputs.spread, outputs.logit, lane, mixture);
                    const int16_t* base = predicted.base[pass.bases - pass.channels + c];
                    centre<Extra>(outputs.mean, base, outputs.coefficient, residual, lane, mixture);
                    intervals<Extra>(mixture, pass.bounds[c], value, front.active >> lane, next);
                    next += kLanes;
                }
                if (c == 0) {
                    const I16 base = Simd::load(&predicted.base[pass.bases - pass.channels][lane]);
                    Simd::store(residual + lane, Simd::sub(value, base));
                }
            }
        }
    }
}

template <int Extra>
inline bool decode_steps(const Pass& pass, Wavefront& front, int steps, StreamDecoder* decoders) {
    Scratch scratch;
    Predicted predicted{};  // of lanes that never had a pixel too, since whole blocks are searched
    Mixture mixtures[kBlocks]{};
    Found found{};
    for (; steps > 0; steps--) {
        advance(pass, front);
        if (front.done) break;
        if (!front.active) continue;
        // Where one stream ends while the next one begins, each has some of the lanes.
        StreamDecoder* const decoder = &decoders[front.stream[front.group]];
        const uint32_t older = front.active & ~front.newer;
        StreamDecoder* const before = older ? &decoders[front.stream[front.group - 1]] : decoder;
        const uint32_t newer = before == decoder ? front.active : front.active & front.newer;
        const ptrdiff_t slot = ptrdiff_t(front.first_group) * pass.period + front.step;
        const LaneBlocks blocks(front.active);
        predict<Extra>(pass, front, slot * kLaneStride, blocks, scratch, predicted);
        alignas(64) int16_t residual[kLanes] = {};
        for (int c = 0; c < pass.channels; c++) {
            const int16_t* base = predicted.base[pass.bases - pass.channels + c];
            if (pass.bounds[c].coded()) {
                const ChannelOutputs outputs = channel_outputs(pass, c, predicted);
                alignas(64) uint32_t state[kLanes];
                std::memcpy(state, decoder->state, sizeof(state));
                for (int lane = 0; before != decoder && lane < kLanes; lane++) {
                    if (older >> lane & 1) state[lane] = before->state[lane];
                }
                for (int b = 0; b < blocks.count; b++) {
                    const int lane = blocks.first[b];
                    prepare(pass.bounds[c], outputs.spread, outputs.logit, lane, mixtures[b]);
                    centre<Extra>(outputs.mean, base, outputs.coefficient, residual, lane, mixtures[b]);
                    aim<Extra>(mixtures[b], pass.bounds[c], Simd::low_halves(state + lane));
                }
                search<Extra>(mixtures, pass.bounds[c], state, front.active, blocks, found);
                if (!Simd::take_off(*decoder, newer, found.cdf_low, found.frequency)) return false;
                if (before != decoder && !Simd::take_off(*before, older, found.cdf_low, found.frequency)) return false;
                put(pass, c, slot, front.active, found.value);
            } else {
                for (int16_t& value : found.value) value = int16_t(pass.bounds[c].low);
            }
            if (c == 0) {
                for (int lane = 0; lane < kLanes; lane++) residual[lane] = int16_t(found.value[lane] - base[lane]);
            }
        }
    }
    return true;
}

inline void encode(const Pass& pass, Wavefront& front, int steps, uint32_t* intervals_of_pass) {
    return pass.deep ? encode_steps<kExtra>(pass, front, steps, intervals_of_pass)
                     : encode_steps<0>(pass, front, steps, intervals_of_pass);
}

inline bool decode(const Pass& pass, Wavefront& front, int steps, StreamDecoder* decoders) {
    return pass.deep ? decode_steps<kExtra>(pass, front, steps, decoders)
                     : decode_steps<0>(pass, front, steps, decoders);
}

}  // namespace
}  // namespace llicti
