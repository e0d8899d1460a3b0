// Vectors of plain C++, for processors without a set of their own, and to compare the others with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/lanes.hpp"

namespace llicti {
namespace {

struct Simd {
    static constexpr int kBlock = 32, kHalf = kBlock / 2, kRows = 4, kTogether = 1;
    static constexpr bool kUnsignedInputs = false;
    using Input = int16_t;
    struct I16 {
        int16_t v[kBlock];
    };
    struct I32 {
        int32_t v[kHalf];
    };
    using Mask = I16;  // 0 or -1
    using Index = I16;

    // A table of 16 numbers.
    struct Table {
        template <class Value>
        explicit constexpr Table(Value value) : v() {
            for (int i = 0; i < 16; i++) v[i] = int16_t(value(i));
        }
        int16_t v[16];
    };

    template <class Operation>
    static I16 each(Operation operation) {
        I16 result;
        for (int i = 0; i < kBlock; i++) result.v[i] = int16_t(operation(i));
        return result;
    }
    static uint16_t u(int16_t value) { return uint16_t(value); }

    static I16 load(const int16_t* from) {
        I16 result;
        std::memcpy(result.v, from, sizeof(result.v));
        return result;
    }
    static void store(int16_t* to, const I16& a) { std::memcpy(to, a.v, sizeof(a.v)); }
    // The first half of a block's lanes.
    struct Half {
        static I16 load(const int16_t* from) {
            I16 result{};
            std::memcpy(result.v, from, kHalf * sizeof(int16_t));
            return result;
        }
        static void store(int16_t* to, const I16& a) { std::memcpy(to, a.v, kHalf * sizeof(int16_t)); }
        static I16 lanes(uint32_t bits) { return Simd::lanes(bits); }
    };
    static I16 set(int16_t value) {
        return each([=](int) { return value; });
    }
    static I16 add(const I16& a, const I16& b) {
        return each([&](int i) { return u(a.v[i]) + u(b.v[i]); });
    }
    static I16 sub(const I16& a, const I16& b) {
        return each([&](int i) { return u(a.v[i]) - u(b.v[i]); });
    }
    static I16 add_saturated(const I16& a, const I16& b) {
        return each([&](int i) { return std::clamp(a.v[i] + b.v[i], -32768, 32767); });
    }
    static I16 min(const I16& a, const I16& b) {
        return each([&](int i) { return std::min(a.v[i], b.v[i]); });
    }
    static I16 max(const I16& a, const I16& b) {
        return each([&](int i) { return std::max(a.v[i], b.v[i]); });
    }
    static I16 min_unsigned(const I16& a, const I16& b) {
        return each([&](int i) { return std::min(u(a.v[i]), u(b.v[i])); });
    }
    static I16 abs(const I16& a) {
        return each([&](int i) { return a.v[i] < 0 ? -a.v[i] : a.v[i]; });
    }
    static I16 mulhi(const I16& a, const I16& b) {
        return each([&](int i) { return (a.v[i] * b.v[i]) >> 16; });
    }
    static I16 mulhi_unsigned(const I16& a, const I16& b) {
        return each([&](int i) { return (uint32_t(u(a.v[i])) * u(b.v[i])) >> 16; });
    }
    static I16 half_up(const I16& a) {  // (a + 1) >> 1
        return each([&](int i) { return (u(a.v[i]) + 1) >> 1; });
    }
    static I16 mullo(const I16& a, const I16& b) {
        return each([&](int i) { return uint32_t(u(a.v[i])) * u(b.v[i]); });
    }
    template <int n>
    static I16 sll(const I16& a) {
        return each([&](int i) { return u(a.v[i]) << n; });
    }
    template <int n>
    static I16 srl(const I16& a) {
        return each([&](int i) { return u(a.v[i]) >> n; });
    }
    template <int n>
    static I16 sra(const I16& a) {
        return each([&](int i) { return a.v[i] >> n; });
    }
    static I16 bit_and(const I16& a, const I16& b) {
        return each([&](int i) { return a.v[i] & b.v[i]; });
    }
    static I16 bit_or(const I16& a, const I16& b) {
        return each([&](int i) { return a.v[i] | b.v[i]; });
    }
    // a where d < 0, else its complement.
    static I16 flip_unless_negative(const I16& a, const I16& d) {
        return each([&](int i) { return d.v[i] < 0 ? a.v[i] : ~a.v[i]; });
    }

    static Index index(const I16& a) { return a; }
    static Index index_of_high_byte(const I16& a) { return srl<8>(a); }
    static I16 lookup(const Table& table, const Index& index) {
        return each([&](int i) { return table.v[index.v[i] & 15]; });
    }

    static Mask greater(const I16& a, const I16& b) {
        return each([&](int i) { return -(a.v[i] > b.v[i]); });
    }
    static Mask greater_unsigned(const I16& a, const I16& b) {
        return each([&](int i) { return -(u(a.v[i]) > u(b.v[i])); });
    }
    static Mask equal(const I16& a, const I16& b) {
        return each([&](int i) { return -(a.v[i] == b.v[i]); });
    }
    static I16 blend(const Mask& mask, const I16& a, const I16& b) {
        return each([&](int i) { return mask.v[i] ? a.v[i] : b.v[i]; });
    }
    static Mask mask_and(const Mask& a, const Mask& b) { return bit_and(a, b); }
    static Mask mask_and_not(const Mask& a, const Mask& b) {  // b without a
        return each([&](int i) { return b.v[i] & ~a.v[i]; });
    }
    static Mask mask_or(const Mask& a, const Mask& b) { return bit_or(a, b); }
    static Mask mask_xor(const Mask& a, const Mask& b) {
        return each([&](int i) { return a.v[i] ^ b.v[i]; });
    }
    static bool any(const Mask& a) {
        int16_t found = 0;
        for (const int16_t lane : a.v) found |= lane;
        return found;
    }
    static Mask lane_mask(uint32_t bits) {
        return each([&](int i) { return -int(bits >> i & 1); });
    }
    static I16 lanes(uint32_t bits) { return lane_mask(bits); }

    // Saturated to bytes, which are kept as numbers of 16 bits, lane by lane.
    static constexpr int kMaxInputsOfLane = kMaxWidth;
    static void store_inputs(Input* x, int quad, const I16& a, const I16& b, const I16& c, const I16& d) {
        for (int i = 0; i < kBlock; i++) {
            Input* to = x + i * kMaxInputsOfLane + 4 * quad;
            const int16_t four[4] = {a.v[i], b.v[i], c.v[i], d.v[i]};
            for (int k = 0; k < 4; k++) to[k] = std::clamp(four[k], int16_t(kInputMin), int16_t(kInputMax));
        }
    }
    static void store_activations(Input* x, int quad, const I16& a, const I16& b, const I16& c, const I16& d) {
        store_inputs(x, quad, a, b, c, d);
    }
    static I16 low_halves(const uint32_t* from) {
        return each([&](int i) { return from[i]; });
    }

    static bool take_off(StreamDecoder& decoder, uint32_t active, const uint16_t* cdf_low, const uint16_t* frequency) {
        return take_off_by_lane(decoder, active, cdf_low, frequency);
    }
    static uint8_t* put_on(const uint32_t* intervals, uint32_t lanes, uint32_t* state, uint8_t* words) {
        return put_on_by_lane(intervals, lanes, state, words);
    }

    static I16 narrow(const I32& low, const I32& high) {
        return each([&](int i) { return std::clamp(i < kHalf ? low.v[i] : high.v[i - kHalf], -32768, 32767); });
    }
    static I16 narrow_unsigned(const I32& low, const I32& high) {
        return each([&](int i) { return std::clamp(i < kHalf ? low.v[i] : high.v[i - kHalf], 0, 65535); });
    }
    template <int n>
    static I32 round_shift(const I32& a, int32_t factor) {
        I32 result;
        for (int i = 0; i < kHalf; i++) result.v[i] = (a.v[i] * factor + (1 << (n - 1))) >> n;
        return result;
    }
    template <int n>
    static I32 affine_shift(const I32& a, int32_t factor, int32_t offset) {
        I32 result;
        for (int i = 0; i < kHalf; i++) result.v[i] = (a.v[i] * factor + offset) >> n;
        return result;
    }

    // Weights of 16 bits, two to a number.
    static void pack_weights(const Layer& layer, bool, PackedLayer& packed) {
        packed.weight.assign(size_t(packed.rows) * size_t(2 * packed.quads), 0);
        for (int o = 0; o < layer.out; o++) {
            for (int k = 0; k < layer.in; k++) {
                int32_t& pair = packed.weight[(size_t(o) * size_t(packed.quads) * 2) + size_t(k / 2)];
                const int16_t weight = layer.weight[size_t(o) * size_t(layer.in) + k];
                std::memcpy(reinterpret_cast<char*>(&pair) + 2 * (k % 2), &weight, sizeof(weight));
            }
        }
    }
    template <int parts>
    static void accumulate(const PackedLayer& layer, int block, const int32_t* bias, const Input* x,
                           I32 (*total)[kRows]) {
        const int count = 4 * layer.quads;
        const int16_t* weight = reinterpret_cast<const int16_t*>(layer.weight.data()) + size_t(block) * kRows * count;
        const int16_t *second = weight + count, *third = second + count, *fourth = third + count;
        for (int i = 0; i < parts * kHalf; i++, x += kMaxInputsOfLane) {
            int32_t sums[kRows] = {};
            for (int k = 0; k < count; k++) {
                sums[0] += int32_t(x[k]) * weight[k];
                sums[1] += int32_t(x[k]) * second[k];
                sums[2] += int32_t(x[k]) * third[k];
                sums[3] += int32_t(x[k]) * fourth[k];
            }
            for (int row = 0; row < kRows; row++) total[i / kHalf][row].v[i % kHalf] = bias[row] + sums[row];
        }
    }
};

}  // namespace
}  // namespace llicti
