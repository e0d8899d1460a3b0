// Vectors of NEON; where LLICTI_DOTPROD is defined, with its products of four bytes.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/lanes.hpp"
#include "kernels/pairs.hpp"

namespace llicti {
namespace {

struct Simd {
    static constexpr int kBlock = 8, kRows = kPair, kTogether = 2;
    static constexpr int kPartBytes = 2 * kBlock;                  // of a quad of inputs of a part of the lanes
    static constexpr int kQuadBytes = 2 * kTogether * kPartBytes;  // from a quad to the next
    static constexpr bool kUnsignedInputs = false;
    using Input = uint8_t;
    using I16 = int16x8_t;
    using Half = void;
    using I32 = int32x4_t;  // the first or the last four lanes
    using Mask = uint16x8_t;
    struct Index {
        uint8x16_t low, high;  // with each other byte out of the table
    };
    // A table of 16 numbers, by low and high bytes.
    struct Table {
        template <class Value>
        explicit constexpr Table(Value value) : low(), high() {
            for (int i = 0; i < 16; i++) {
                low[i] = uint8_t(value(i));
                high[i] = uint8_t(unsigned(value(i)) >> 8);
            }
        }
        alignas(16) uint8_t low[16], high[16];
    };

    static uint16x8_t u(I16 a) { return vreinterpretq_u16_s16(a); }
    static I16 s(uint16x8_t a) { return vreinterpretq_s16_u16(a); }
    static uint8x16_t bytes(I16 a) { return vreinterpretq_u8_s16(a); }

    static I16 load(const int16_t* from) { return vld1q_s16(from); }
    static void store(int16_t* to, I16 a) { vst1q_s16(to, a); }
    static I16 set(int value) { return vdupq_n_s16(int16_t(value)); }
    static I16 add(I16 a, I16 b) { return vaddq_s16(a, b); }
    static I16 sub(I16 a, I16 b) { return vsubq_s16(a, b); }
    static I16 add_saturated(I16 a, I16 b) { return vqaddq_s16(a, b); }
    static I16 min(I16 a, I16 b) { return vminq_s16(a, b); }
    static I16 max(I16 a, I16 b) { return vmaxq_s16(a, b); }
    static I16 min_unsigned(I16 a, I16 b) { return s(vminq_u16(u(a), u(b))); }
    static I16 abs(I16 a) { return vabsq_s16(a); }
    static I16 mulhi(I16 a, I16 b) {
        const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b)), high = vmull_high_s16(a, b);
        return vuzp2q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high));
    }
    static I16 mulhi_unsigned(I16 a, I16 b) {
        const uint32x4_t low = vmull_u16(vget_low_u16(u(a)), vget_low_u16(u(b))), high = vmull_high_u16(u(a), u(b));
        return s(vuzp2q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high)));
    }
    static I16 half_up(I16 a) { return s(vrshrq_n_u16(u(a), 1)); }  // (a + 1) >> 1
    static I16 mullo(I16 a, I16 b) { return vmulq_s16(a, b); }
    template <int n>
    static I16 sll(I16 a) {
        return vshlq_n_s16(a, n);
    }
    template <int n>
    static I16 srl(I16 a) {
        return s(vshrq_n_u16(u(a), n));
    }
    template <int n>
    static I16 sra(I16 a) {
        return vshrq_n_s16(a, n);
    }
    static I16 bit_and(I16 a, I16 b) { return vandq_s16(a, b); }
    static I16 bit_or(I16 a, I16 b) { return vorrq_s16(a, b); }
    // a where d < 0, else its complement.
    static I16 flip_unless_negative(I16 a, I16 d) { return veorq_s16(a, s(vcgezq_s16(d))); }

    static Index index(I16 a) { return {bytes(bit_or(a, set(-0x8000))), bytes(bit_or(sll<8>(a), set(0x80)))}; }
    static Index index_of_high_byte(I16 a) {
        return {bytes(bit_or(srl<8>(a), set(-0x8000))), bytes(bit_or(a, set(0x80)))};
    }
    static I16 lookup(const Table& table, Index index) {
        return vreinterpretq_s16_u8(
            vorrq_u8(vqtbl1q_u8(vld1q_u8(table.low), index.low), vqtbl1q_u8(vld1q_u8(table.high), index.high)));
    }

    static Mask greater(I16 a, I16 b) { return vcgtq_s16(a, b); }
    static Mask greater_unsigned(I16 a, I16 b) { return vcgtq_u16(u(a), u(b)); }
    static Mask equal(I16 a, I16 b) { return vceqq_s16(a, b); }
    static I16 blend(Mask mask, I16 a, I16 b) { return vbslq_s16(mask, a, b); }
    static Mask mask_and(Mask a, Mask b) { return vandq_u16(a, b); }
    static Mask mask_and_not(Mask a, Mask b) { return vbicq_u16(b, a); }  // b without a
    static Mask mask_or(Mask a, Mask b) { return vorrq_u16(a, b); }
    static Mask mask_xor(Mask a, Mask b) { return veorq_u16(a, b); }
    static bool any(Mask a) { return vmaxvq_u16(a); }
    static Mask lane_mask(uint32_t bits) {
        const uint16_t each[8] = {1, 2, 4, 8, 16, 32, 64, 128};
        return vtstq_u16(vdupq_n_u16(uint16_t(bits)), vld1q_u16(each));
    }
    static I16 lanes(uint32_t bits) { return s(lane_mask(bits)); }

    // Bytes of saturated numbers, the four of a lane side by side.
    static void store_inputs(uint8_t* x, int quad, I16 a, I16 b, I16 c, I16 d) {
        const int8x8x4_t four = {{vqmovn_s16(a), vqmovn_s16(b), vqmovn_s16(c), vqmovn_s16(d)}};
        vst4_s8(reinterpret_cast<int8_t*>(x + kQuadBytes * quad), four);
    }
    static void store_activations(uint8_t* x, int quad, I16 a, I16 b, I16 c, I16 d) {
        store_inputs(x, quad, a, b, c, d);
    }
    static I16 low_halves(const uint32_t* from) {
        return s(vuzp1q_u16(vreinterpretq_u16_u32(vld1q_u32(from)), vreinterpretq_u16_u32(vld1q_u32(from + 4))));
    }

    static bool take_off(StreamDecoder& decoder, uint32_t active, const uint16_t* cdf_low, const uint16_t* frequency) {
        return take_off_by_lane(decoder, active, cdf_low, frequency);
    }
    static uint8_t* put_on(const uint32_t* intervals, uint32_t lanes, uint32_t* state, uint8_t* words) {
        return put_on_by_lane(intervals, lanes, state, words);
    }

    static I16 narrow(I32 low, I32 high) { return vqmovn_high_s32(vqmovn_s32(low), high); }
    static I16 narrow_unsigned(I32 low, I32 high) { return s(vqmovun_high_s32(vqmovun_s32(low), high)); }
    template <int n>
    static I32 round_shift(I32 a, int32_t factor) {
        return vrshrq_n_s32(vmulq_n_s32(a, factor), n);
    }
    template <int n>
    static I32 affine_shift(I32 a, int32_t factor, int32_t offset) {
        return vshrq_n_s32(vmlaq_n_s32(vdupq_n_s32(offset), a, factor), n);
    }

    static void pack_weights(const Layer& layer, bool, PackedLayer& packed) { pack_pairs(layer, kQuadBytes, packed); }
    static I32 add_products(I32 total, int8x16_t x, int8x16_t weight) {
#ifdef LLICTI_DOTPROD
        return vdotq_s32(total, x, weight);
#else
        // Sums of two products of bytes fit in 16 bits.
        const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(weight)), high = vmull_high_s8(x, weight);
        return vpadalq_s16(total, vpaddq_s16(low, high));
#endif
    }
    template <int parts>
    __attribute__((always_inline)) static void accumulate(const PackedLayer& layer, int block, const int32_t* bias,
                                                          const uint8_t* x, I32 (*total)[kRows]) {
        auto [count, weight, offset] = pair_of(layer, block);
        for (int part = 0; part < parts; part++) {
            for (int row = 0; row < kRows; row++) total[part][row] = vdupq_n_s32(bias[row]);
        }
        for (; count > 0; count--, offset++, weight += kRows) {
            const int8x16_t first = vreinterpretq_s8_s32(vld1q_dup_s32(weight));
            const int8x16_t second = vreinterpretq_s8_s32(vld1q_dup_s32(weight + 1));
            for (int part = 0; part < parts; part++) {
                const int8x16_t inputs = vld1q_s8(reinterpret_cast<const int8_t*>(x + *offset + part * kPartBytes));
                total[part][0] = add_products(total[part][0], inputs, first);
                total[part][1] = add_products(total[part][1], inputs, second);
            }
        }
    }
};

}  // namespace
}  // namespace llicti
