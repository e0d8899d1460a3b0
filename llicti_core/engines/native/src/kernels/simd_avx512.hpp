// Vectors of AVX-512 with VNNI and VBMI: all lanes of a step in one.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/kernels.hpp"
#include "kernels/pairs.hpp"

namespace llicti {
namespace {

struct Simd {
    static constexpr int kBlock = 32, kRows = kPair, kTogether = 1;
    static constexpr bool kUnsignedInputs = true;
    using Input = uint8_t;
    using I16 = __m512i;
    using Half = void;
    using I32 = __m512i;  // of each eight lanes the first or the last four
    using Mask = __mmask32;
    using Index = __m512i;
    // A table of 16 numbers, twice.
    struct Table {
        template <class Value>
        explicit constexpr Table(Value value) : numbers() {
            for (int i = 0; i < 32; i++) numbers[i] = uint16_t(value(i % 16));
        }
        alignas(64) uint16_t numbers[32];
    };

    static __m512i loads(const void* from) { return _mm512_loadu_si512(from); }
    static void stores(void* to, __m512i a) { _mm512_storeu_si512(to, a); }

    static I16 load(const int16_t* from) { return loads(from); }
    static void store(int16_t* to, I16 a) { stores(to, a); }
    static I16 set(int value) { return _mm512_set1_epi16(int16_t(value)); }
    static I16 add(I16 a, I16 b) { return _mm512_add_epi16(a, b); }
    static I16 sub(I16 a, I16 b) { return _mm512_sub_epi16(a, b); }
    static I16 add_saturated(I16 a, I16 b) { return _mm512_adds_epi16(a, b); }
    static I16 min(I16 a, I16 b) { return _mm512_min_epi16(a, b); }
    static I16 max(I16 a, I16 b) { return _mm512_max_epi16(a, b); }
    static I16 min_unsigned(I16 a, I16 b) { return _mm512_min_epu16(a, b); }
    static I16 abs(I16 a) { return _mm512_abs_epi16(a); }
    static I16 mulhi(I16 a, I16 b) { return _mm512_mulhi_epi16(a, b); }
    static I16 mulhi_unsigned(I16 a, I16 b) { return _mm512_mulhi_epu16(a, b); }
    static I16 half_up(I16 a) { return _mm512_avg_epu16(a, _mm512_setzero_si512()); }  // (a + 1) >> 1
    static I16 mullo(I16 a, I16 b) { return _mm512_mullo_epi16(a, b); }
    template <int n>
    static I16 sll(I16 a) {
        return _mm512_slli_epi16(a, n);
    }
    template <int n>
    static I16 srl(I16 a) {
        return _mm512_srli_epi16(a, n);
    }
    template <int n>
    static I16 sra(I16 a) {
        return _mm512_srai_epi16(a, n);
    }
    static I16 bit_and(I16 a, I16 b) { return _mm512_and_si512(a, b); }
    static I16 bit_or(I16 a, I16 b) { return _mm512_or_si512(a, b); }
    // a where d < 0, else its complement.
    static I16 flip_unless_negative(I16 a, I16 d) {
        return _mm512_ternarylogic_epi32(a, sra<15>(d), a, 0xC3);  // a xnor sign
    }

    static Index index(I16 a) { return a; }
    static Index index_of_high_byte(I16 a) { return srl<8>(a); }
    static I16 lookup(const Table& table, Index index) {
        return _mm512_permutexvar_epi16(index, _mm512_load_si512(table.numbers));
    }

    static Mask greater(I16 a, I16 b) { return _mm512_cmpgt_epi16_mask(a, b); }
    static Mask greater_unsigned(I16 a, I16 b) { return _mm512_cmpgt_epu16_mask(a, b); }
    static Mask equal(I16 a, I16 b) { return _mm512_cmpeq_epi16_mask(a, b); }
    static I16 blend(Mask mask, I16 a, I16 b) { return _mm512_mask_blend_epi16(mask, b, a); }
    static Mask mask_and(Mask a, Mask b) { return a & b; }
    static Mask mask_and_not(Mask a, Mask b) { return ~a & b; }  // b without a
    static Mask mask_or(Mask a, Mask b) { return a | b; }
    static Mask mask_xor(Mask a, Mask b) { return a ^ b; }
    static bool any(Mask a) { return a; }
    static Mask lane_mask(uint32_t bits) { return bits; }
    static I16 lanes(uint32_t bits) { return _mm512_movm_epi16(bits); }

    // Bytes of saturated numbers, the four of a lane side by side, lanes as in I32.
    static void store_bytes(uint8_t* to, __m512i ab, __m512i cd) {
        const __m512i ac = _mm512_unpacklo_epi8(ab, cd), bd = _mm512_unpackhi_epi8(ab, cd);
        stores(to, _mm512_unpacklo_epi8(ac, bd));
        stores(to + 64, _mm512_unpackhi_epi8(ac, bd));
    }
    static void store_inputs(uint8_t* x, int quad, I16 a, I16 b, I16 c, I16 d) {
        const __m512i flip = _mm512_set1_epi8(-128);
        store_bytes(x + 4 * kBlock * quad, _mm512_xor_si512(_mm512_packs_epi16(a, b), flip),
                    _mm512_xor_si512(_mm512_packs_epi16(c, d), flip));
    }
    static void store_activations(uint8_t* x, int quad, I16 a, I16 b, I16 c, I16 d) {
        store_bytes(x + 4 * kBlock * quad, _mm512_packs_epi16(a, b), _mm512_packs_epi16(c, d));
    }
    static I16 low_halves(const uint32_t* from) {
        return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(loads(from))),
                                  _mm512_cvtepi32_epi16(loads(from + 16)), 1);
    }

    // Takes the decoded intervals off the active lanes. Returns false where the words run out.
    static bool take_off(StreamDecoder& decoder, uint32_t active, const uint16_t* cdf_low, const uint16_t* frequency) {
        for (int lane = 0; lane < kLanes; lane += 16) {
            const auto mask = __mmask16(active >> lane);
            const __m512i state = loads(&decoder.state[lane]);
            const __m512i high = _mm512_srli_epi32(state, 16), low = _mm512_and_si512(state, _mm512_set1_epi32(0xFFFF));
            const __m512i next = _mm512_add_epi32(_mm512_mullo_epi32(widen(frequency + lane), high),
                                                  _mm512_sub_epi32(low, widen(cdf_low + lane)));
            const __mmask16 short_of = _mm512_mask_cmplt_epu32_mask(mask, next, _mm512_set1_epi32(kStateMin));
            // The words of the lanes that need one, in order.
            const int count = __builtin_popcount(short_of);
            if (decoder.end - decoder.words < 2 * count) return false;
            const __m256i words = _mm256_maskz_loadu_epi16(__mmask16((1u << count) - 1), decoder.words);
            decoder.words += 2 * count;
            const __m512i spread = _mm512_maskz_expand_epi32(short_of, _mm512_cvtepu16_epi32(words));
            const __m512i filled = _mm512_mask_or_epi32(next, short_of, _mm512_slli_epi32(next, 16), spread);
            _mm512_mask_storeu_epi32(&decoder.state[lane], mask, filled);
        }
        return true;
    }
    // See Kernels.
    static uint8_t* put_on(const uint32_t* intervals, uint32_t lanes, uint32_t* state, uint8_t* words) {
        for (int lane = kLanes - 16; lane >= 0; lane -= 16) {
            const __m512i interval = loads(intervals + lane), before = loads(state + lane);
            const __m512i frequency = _mm512_srli_epi32(interval, 16), high = _mm512_srli_epi32(before, 16);
            const __mmask16 used = _mm512_mask_test_epi32_mask(__mmask16(lanes >> lane), frequency, frequency);
            const __mmask16 full = _mm512_mask_cmpge_epu32_mask(used, high, frequency);
            const int count = __builtin_popcount(full);
            words -= 2 * count;
            const __m256i taken = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, before));
            _mm256_mask_storeu_epi16(words, __mmask16((1u << count) - 1), taken);
            const __m512i x = _mm512_mask_blend_epi32(full, before, high);
            // The quotient is below 2^16 and this estimate less than 2^-5 beside it, so that, rounded, it is right or
            // one too large.
            const __m512 quotient = _mm512_maskz_div_ps(used, _mm512_cvtepu32_ps(x), _mm512_cvtepu32_ps(frequency));
            __m512i whole = _mm512_cvttps_epi32(_mm512_add_ps(quotient, _mm512_set1_ps(0.5F)));
            __m512i rest = _mm512_sub_epi32(x, _mm512_mullo_epi32(whole, frequency));
            const __mmask16 too_large = _mm512_movepi32_mask(rest);
            whole = _mm512_mask_sub_epi32(whole, too_large, whole, _mm512_set1_epi32(1));
            rest = _mm512_mask_add_epi32(rest, too_large, rest, frequency);
            const __m512i cdf_low = _mm512_and_si512(interval, _mm512_set1_epi32(0xFFFF));
            const __m512i after = _mm512_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(whole, 16), rest), cdf_low);
            _mm512_mask_storeu_epi32(state + lane, used, after);
        }
        return words;
    }
    static __m512i widen(const uint16_t* from) {
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    }

    static I16 narrow(I32 low, I32 high) { return _mm512_packs_epi32(low, high); }
    static I16 narrow_unsigned(I32 low, I32 high) { return _mm512_packus_epi32(low, high); }
    template <int n>
    static I32 round_shift(I32 a, int32_t factor) {
        return affine_shift<n>(a, factor, 1 << (n - 1));
    }
    template <int n>
    static I32 affine_shift(I32 a, int32_t factor, int32_t offset) {
        const __m512i product = _mm512_mullo_epi32(a, _mm512_set1_epi32(factor));
        return _mm512_srai_epi32(_mm512_add_epi32(product, _mm512_set1_epi32(offset)), n);
    }

    static void pack_weights(const Layer& layer, bool, PackedLayer& packed) { pack_pairs(layer, 4 * kBlock, packed); }
    // Sums of both outputs for both parts of the lanes: names, not arrays, which GCC would move to and fro.
    struct Sums {
        __m512i first0, first1, second0, second1;

        void add(const uint8_t* x, const int32_t* weight) {
            const __m512i x0 = loads(x), x1 = loads(x + 64);
            const __m512i first = _mm512_set1_epi32(weight[0]), second = _mm512_set1_epi32(weight[1]);
            first0 = _mm512_dpbusd_epi32(first0, x0, first);
            first1 = _mm512_dpbusd_epi32(first1, x1, first);
            second0 = _mm512_dpbusd_epi32(second0, x0, second);
            second1 = _mm512_dpbusd_epi32(second1, x1, second);
        }
    };
    template <int parts>
    __attribute__((always_inline)) static void accumulate(const PackedLayer& layer, int block, const int32_t* bias,
                                                          const uint8_t* x, I32 (*total)[kRows]) {
        auto [count, weight, offset] = pair_of(layer, block);
        const __m512i zero = _mm512_setzero_si512();
        const __m512i first = _mm512_set1_epi32(bias[0]), second = _mm512_set1_epi32(bias[1]);
        // Two quads at a time have sums of their own, since one product waits for the one before.
        Sums even{first, first, second, second}, odd{zero, zero, zero, zero};
        for (int i = 0; i + 1 < count; i += 2, weight += 2 * kRows) {
            even.add(x + offset[i], weight);
            odd.add(x + offset[i + 1], weight + kRows);
        }
        if (count % 2) even.add(x + offset[count - 1], weight);
        total[0][0] = _mm512_add_epi32(even.first0, odd.first0);
        total[1][0] = _mm512_add_epi32(even.first1, odd.first1);
        total[0][1] = _mm512_add_epi32(even.second0, odd.second0);
        total[1][1] = _mm512_add_epi32(even.second1, odd.second1);
    }
};

}  // namespace
}  // namespace llicti
