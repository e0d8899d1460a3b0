// What the kernels for AVX-512 share, with and without AMX: everything but the matrix products.
// Compiled once for each of them, hence the anonymous namespace.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarms in the compiler's own intrinsics
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "mixture.hpp"

namespace llicti {
namespace {

constexpr int kVectors = kChunk / 16;  // registers of 16 pixels

using Activation = uint8_t;  // [quad][pixel][4]

// Interleave rows of inputs to quads, adding `offset` modulo 256.
inline void arrange_quads(const int8_t (*input)[kChunk], int quads, uint8_t offset, uint8_t* x) {
    const __m512i add = _mm512_set1_epi8(int8_t(offset));
    for (int q = 0; q < quads; q++, input += 4, x += 4 * kChunk) {
        const __m512i a = _mm512_load_si512(input[0]), b = _mm512_load_si512(input[1]);
        const __m512i c = _mm512_load_si512(input[2]), d = _mm512_load_si512(input[3]);
        const __m512i ab[2] = {_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)};
        const __m512i cd[2] = {_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d)};
        // Lane i of quads[j] has pixels 16 * i + 4 * j and on.
        const __m512i quads_of[4] = {_mm512_unpacklo_epi16(ab[0], cd[0]), _mm512_unpackhi_epi16(ab[0], cd[0]),
                                     _mm512_unpacklo_epi16(ab[1], cd[1]), _mm512_unpackhi_epi16(ab[1], cd[1])};
        for (int j = 0; j < 4; j++) {
            const __m512i sum = _mm512_add_epi8(quads_of[j], add);
            _mm_store_si128(reinterpret_cast<__m128i*>(x + 16 * j), _mm512_extracti32x4_epi32(sum, 0));
            _mm_store_si128(reinterpret_cast<__m128i*>(x + 64 + 16 * j), _mm512_extracti32x4_epi32(sum, 1));
            _mm_store_si128(reinterpret_cast<__m128i*>(x + 128 + 16 * j), _mm512_extracti32x4_epi32(sum, 2));
            _mm_store_si128(reinterpret_cast<__m128i*>(x + 192 + 16 * j), _mm512_extracti32x4_epi32(sum, 3));
        }
    }
}

// Requantises accumulators of four outputs, 16 pixels each, to quads; in 16 bits where Layer says that will do.
template <bool is_short>
class Requantiser {
public:
    Requantiser(const Layer& layer, int output) {
        const uint16_t* m = layer.short_multipliers(output);
        for (int o = 0; o < 4; o += 2, m += 8) {
            short_[o / 2] = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(m)));
        }
        for (int o = 0; o < 4; o++) multiplier_[o] = _mm512_set1_epi32(layer.multipliers(output)[o]);
    }

    __m512i operator()(__m512i a, __m512i b, __m512i c, __m512i d) const {
        // Four pixels of each of four outputs, in every 128 bits.
        const __m512i packed = is_short ? in_16_bits(a, b, c, d) : in_32_bits(a, b, c, d);
        const __m128i transpose = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        return _mm512_shuffle_epi8(packed, _mm512_broadcast_i32x4(transpose));
    }

private:
    __m512i in_16_bits(__m512i a, __m512i b, __m512i c, __m512i d) const {
        const __m512i low = _mm512_mulhi_epu16(_mm512_packus_epi32(a, b), short_[0]);
        const __m512i high = _mm512_mulhi_epu16(_mm512_packus_epi32(c, d), short_[1]);
        const __m512i zero = _mm512_setzero_si512();
        return _mm512_packs_epi16(_mm512_avg_epu16(low, zero), _mm512_avg_epu16(high, zero));
    }

    __m512i in_32_bits(__m512i a, __m512i b, __m512i c, __m512i d) const {
        const __m512i low = _mm512_packs_epi32(scaled(a, 0), scaled(b, 1));
        const __m512i high = _mm512_packs_epi32(scaled(c, 2), scaled(d, 3));
        return _mm512_max_epi8(_mm512_packs_epi16(low, high), _mm512_setzero_si512());
    }

    __m512i scaled(__m512i total, int output) const {
        const __m512i product = _mm512_mullo_epi32(total, multiplier_[output]);
        return _mm512_srai_epi32(_mm512_add_epi32(product, _mm512_set1_epi32(1 << (kHiddenShift - 1))), kHiddenShift);
    }

    __m512i short_[2], multiplier_[4];
};

// From accumulators of 16 pixels to an output in sixteenths of its parameter's unit.
inline void store_output(__m512i total, int32_t multiplier, int32_t* output) {
    const __m512i scaled = _mm512_mullo_epi32(total, _mm512_set1_epi32(multiplier));
    const __m512i half = _mm512_set1_epi32(1 << (kOutputShift - 1));
    _mm512_store_si512(output, _mm512_srai_epi32(_mm512_add_epi32(scaled, half), kOutputShift));
}

// From spread indices, yet to be clamped, to what Mixture holds of them.
inline void spread_row(const Tables& tables, const int16_t* parameter, uint16_t* mantissa, uint16_t* power,
                       uint16_t* limit) {
    const __m512i mantissas =
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tables.mantissa.data())));
    for (int p = 0; p < kChunk; p += kLanes) {
        __m512i index = _mm512_max_epi16(_mm512_load_si512(parameter + p), _mm512_setzero_si512());
        index = _mm512_min_epi16(index, _mm512_set1_epi16(kMaxSpreadIndex));
        const __m512i shift = _mm512_sub_epi16(_mm512_set1_epi16(kSpreadShift), _mm512_srli_epi16(index, 3));
        _mm512_store_si512(mantissa + p,
                           _mm512_permutexvar_epi16(_mm512_and_si512(index, _mm512_set1_epi16(7)), mantissas));
        _mm512_store_si512(power + p, _mm512_sllv_epi16(_mm512_set1_epi16(1), shift));
        _mm512_store_si512(limit + p, _mm512_srlv_epi16(_mm512_set1_epi16(-1), shift));
    }
}

// Shares of components `below` steps under the heaviest, 0..127.
inline void share_row(const Tables& tables, const uint16_t* below, uint16_t* share) {
    const uint16_t* table = tables.weight_exp.data();
    const __m512i a = _mm512_load_si512(table), b = _mm512_load_si512(table + 32);
    const __m512i c = _mm512_load_si512(table + 64), d = _mm512_load_si512(table + 96);
    for (int p = 0; p < kChunk; p += kLanes) {
        const __m512i index = _mm512_load_si512(below + p);
        const __mmask32 far = _mm512_test_epi16_mask(index, _mm512_set1_epi16(64));
        const __m512i near_share = _mm512_permutex2var_epi16(a, index, b);
        const __m512i far_share = _mm512_permutex2var_epi16(c, index, d);
        _mm512_store_si512(share + p, _mm512_mask_mov_epi16(near_share, far, far_share));
    }
}

// The distribution of one channel for the lane batch at `at`: 32 lanes of 16 bits.
class Cumulative {
public:
    Cumulative(const Tables& tables, const Mixture& mixture, int at, Bounds bounds)
        : mixture_(mixture), at_(at), bounds_(bounds) {
        for (int half = 0; half < 2; half++) {
            tail_[half] = _mm512_load_si512(tables.tail.data() + 32 * half);
            delta_[half] = _mm512_load_si512(tables.tail_delta.data() + 32 * half);
        }
    }

    void intervals(const int16_t* value, uint32_t* out) const {
        const __m512i x = _mm512_load_si512(value);
        const __m512i cdf_low = closed_below(x);
        const __m512i frequency = _mm512_sub_epi16(closed_above(x), cdf_low);
        const __m512i low = _mm512_unpacklo_epi16(cdf_low, frequency), high = _mm512_unpackhi_epi16(cdf_low, frequency);
        const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        _mm512_storeu_si512(out, _mm512_permutex2var_epi64(low, first, high));
        _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi64(low, second, high));
    }

    bool decode(StreamDecoder& decoder, int count, int16_t* value) const {
        const __m512i slots =
            _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_load_si512(decoder.state))),
                               _mm512_cvtepi32_epi16(_mm512_load_si512(decoder.state + 16)), 1);
        const __m512i most = _mm512_set1_epi16(int16_t(bounds_.high));
        __m512i found = _mm512_set1_epi16(int16_t(bounds_.low));
        // Cumulatives of the greatest value not above the slot, and of the least above it: all 65536 but 0 here.
        __m512i cdf_low = _mm512_setzero_si512(), above = _mm512_setzero_si512();
        int step = 1;
        while (2 * step <= bounds_.high - bounds_.low) step *= 2;
        for (; step; step /= 2) {
            const __m512i trial = _mm512_add_epi16(found, _mm512_set1_epi16(int16_t(step)));
            const __m512i inside = at(trial);
            const __mmask32 possible = _mm512_cmple_epi16_mask(trial, most);
            const __mmask32 taken = _mm512_mask_cmple_epu16_mask(possible, inside, slots);
            found = _mm512_mask_mov_epi16(found, taken, trial);
            cdf_low = _mm512_mask_mov_epi16(cdf_low, taken, inside);
            above = _mm512_mask_mov_epi16(above, possible & ~taken, inside);
        }
        const __m512i frequency = _mm512_sub_epi16(above, cdf_low);
        const __mmask32 lanes = count == kLanes ? ~__mmask32(0) : (__mmask32(1) << count) - 1;
        _mm512_store_si512(value, _mm512_maskz_mov_epi16(lanes, found));
        if (decoder.end - decoder.words < 2 * kLanes || count < kLanes) {
            alignas(64) uint16_t cdf_lows[kLanes], frequencies[kLanes];
            _mm512_store_si512(cdf_lows, cdf_low);
            _mm512_store_si512(frequencies, frequency);
            return advance(decoder, count, cdf_lows, frequencies);
        }
        for (int half = 0; half < 2; half++) {
            const __m512i b = widen(cdf_low, half), f = widen(frequency, half);
            __m512i state = _mm512_load_si512(decoder.state + 16 * half);
            const __m512i slot = _mm512_and_si512(state, _mm512_set1_epi32(0xFFFF));
            state = _mm512_add_epi32(_mm512_mullo_epi32(f, _mm512_srli_epi32(state, 16)), _mm512_sub_epi32(slot, b));
            const __mmask16 low = _mm512_cmplt_epu32_mask(state, _mm512_set1_epi32(kStateMin));
            const __m512i words = _mm512_maskz_expand_epi32(
                low, _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(decoder.words))));
            state = _mm512_mask_or_epi32(state, low, _mm512_slli_epi32(state, 16), words);
            _mm512_store_si512(decoder.state + 16 * half, state);
            decoder.words += 2 * __builtin_popcount(low);
        }
        return true;
    }

private:
    static __m512i widen(__m512i x, int half) {
        return _mm512_cvtepu16_epi32(half ? _mm512_extracti64x4_epi64(x, 1) : _mm512_castsi512_si256(x));
    }

    // Probability, of 65536, that the value is below x; for x inside the bounds.
    __m512i at(__m512i x) const {
        __m512i sum = _mm512_sub_epi16(x, _mm512_set1_epi16(int16_t(bounds_.low)));
        const __m512i sixteenths = _mm512_slli_epi16(x, kFineShift);
        for (int k = 0; k < kComponents; k++) {
            const __m512i distance = _mm512_sub_epi16(sixteenths, _mm512_loadu_si512(&mixture_.origin[k][at_]));
            __m512i position =
                _mm512_min_epu16(_mm512_abs_epi16(distance), _mm512_loadu_si512(&mixture_.limit[k][at_]));
            position = _mm512_mullo_epi16(position, _mm512_loadu_si512(&mixture_.power[k][at_]));
            position = _mm512_mulhi_epu16(position, _mm512_loadu_si512(&mixture_.mantissa[k][at_]));
            position = _mm512_min_epu16(position, _mm512_set1_epi16(kMaxPosition));
            const __m512i knot = _mm512_srli_epi16(position, kFractionBits);
            const __m512i fraction = _mm512_slli_epi16(_mm512_and_si512(position, _mm512_set1_epi16(kFractionMask)), 5);
            const __m512i delta = _mm512_permutex2var_epi16(delta_[0], knot, delta_[1]);
            __m512i part = _mm512_permutex2var_epi16(tail_[0], knot, tail_[1]);
            part = _mm512_sub_epi16(part, _mm512_mulhi_epu16(delta, fraction));
            const __mmask32 upper = ~_mm512_movepi16_mask(distance);
            part = _mm512_mask_sub_epi16(part, upper, _mm512_set1_epi16(-1), part);
            sum = _mm512_add_epi16(sum, _mm512_mulhi_epu16(part, _mm512_loadu_si512(&mixture_.weight[k][at_])));
        }
        return sum;
    }

    // The same for x from low to high.
    __m512i closed_below(__m512i x) const {
        return _mm512_maskz_mov_epi16(_mm512_cmpgt_epi16_mask(x, _mm512_set1_epi16(int16_t(bounds_.low))), at(x));
    }

    // The same for x + 1, modulo 65536.
    __m512i closed_above(__m512i x) const {
        const __mmask32 inside = _mm512_cmplt_epi16_mask(x, _mm512_set1_epi16(int16_t(bounds_.high)));
        return _mm512_maskz_mov_epi16(inside, at(_mm512_add_epi16(x, _mm512_set1_epi16(1))));
    }

    const Mixture& mixture_;
    int at_;
    Bounds bounds_;
    __m512i tail_[2], delta_[2];
};

}  // namespace
}  // namespace llicti
