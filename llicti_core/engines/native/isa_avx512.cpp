// Kernels for AVX-512 with VNNI: 64 multiply-accumulates an instruction, 32 lanes a register.
#include <immintrin.h>

#include "chunk.hpp"

namespace llicti {
namespace {

constexpr int kVectors = kChunk / 16;  // registers of 16 pixels

// Accumulators of the 4 outputs of one block over a chunk.
inline void accumulate(const Layer& layer, const int8_t* weight, const int32_t* bias, const uint8_t* x,
                       __m512i (&total)[4][kVectors]) {
    for (int o = 0; o < 4; o++) {
        for (int v = 0; v < kVectors; v++) total[o][v] = _mm512_set1_epi32(bias[o]);
    }
    for (int q = 0; q < layer.quads; q++, weight += 16, x += 4 * kChunk) {
        __m512i input[kVectors];
        for (int v = 0; v < kVectors; v++) input[v] = _mm512_load_si512(x + 64 * v);
        for (int o = 0; o < 4; o++) {
            int32_t packed;
            std::memcpy(&packed, weight + 4 * o, 4);
            const __m512i w = _mm512_set1_epi32(packed);
            for (int v = 0; v < kVectors; v++) total[o][v] = _mm512_dpbusd_epi32(total[o][v], input[v], w);
        }
    }
}

void dense_hidden(const Layer& layer, int group, int scale, const uint8_t* x, uint8_t* y) {
    const int8_t* weight = layer.group_weight(group);
    const int32_t* bias = layer.group_bias(scale, group);
    const int32_t* multiplier = layer.group_multiplier(group);
    const __m512i half = _mm512_set1_epi32(1 << (kHiddenShift - 1));
    const __m512i most = _mm512_set1_epi32(kActivationMax);
    for (int block = 0; block < layer.blocks; block++) {
        __m512i total[4][kVectors];
        accumulate(layer, weight + size_t(block) * layer.quads * 16, bias + 4 * block, x, total);
        for (int v = 0; v < kVectors; v++) {
            __m512i quad = _mm512_setzero_si512();
            for (int o = 0; o < 4; o++) {
                const __m512i m = _mm512_set1_epi32(multiplier[4 * block + o]);
                __m512i scaled = _mm512_add_epi32(_mm512_mullo_epi32(total[o][v], m), half);
                scaled = _mm512_srai_epi32(scaled, kHiddenShift);
                scaled = _mm512_min_epi32(_mm512_max_epi32(scaled, _mm512_setzero_si512()), most);
                quad = _mm512_or_si512(quad, _mm512_slli_epi32(scaled, 8 * o));
            }
            _mm512_store_si512(y + size_t(block) * 4 * kChunk + 64 * v, quad);
        }
    }
}

void dense_output(const Layer& layer, int group, int scale, const uint8_t* x, int32_t (*y)[kChunk]) {
    const int8_t* weight = layer.group_weight(group);
    const int32_t* bias = layer.group_bias(scale, group);
    const int32_t* multiplier = layer.group_multiplier(group);
    for (int block = 0; block < layer.blocks; block++) {
        __m512i total[4][kVectors];
        accumulate(layer, weight + size_t(block) * layer.quads * 16, bias + 4 * block, x, total);
        for (int o = 0; o < 4; o++) {
            const __m512i m = _mm512_set1_epi32(multiplier[4 * block + o]);
            for (int v = 0; v < kVectors; v++) {
                _mm512_store_si512(&y[4 * block + o][16 * v], _mm512_mullo_epi32(total[o][v], m));
            }
        }
    }
}

// The distribution of one channel for the group of lanes at `at`: 32 lanes of 16 bits.
class Cumulative {
public:
    Cumulative(const Tables& tables, const Mixture& mixture, int at, Range range)
        : mixture_(mixture), at_(at), range_(range) {
        for (int half = 0; half < 2; half++) {
            tail_[half] = _mm512_load_si512(tables.tail.data() + 32 * half);
            delta_[half] = _mm512_load_si512(tables.tail_delta.data() + 32 * half);
        }
    }

    void intervals(const int16_t* value, uint32_t* out) const {
        const __m512i x = _mm512_load_si512(value);
        const __m512i below = closed_below(x);
        const __m512i frequency = _mm512_sub_epi16(closed_above(x), below);
        const __m512i low = _mm512_unpacklo_epi16(below, frequency), high = _mm512_unpackhi_epi16(below, frequency);
        const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        _mm512_storeu_si512(out, _mm512_permutex2var_epi64(low, first, high));
        _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi64(low, second, high));
    }

    bool decode(StreamDecoder& decoder, int count, int16_t* value) const {
        const __m512i slots = _mm512_inserti64x4(
            _mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_load_si512(decoder.state))),
            _mm512_cvtepi32_epi16(_mm512_load_si512(decoder.state + 16)), 1);
        const __m512i most = _mm512_set1_epi16(int16_t(range_.high));
        __m512i found = _mm512_set1_epi16(int16_t(range_.low));
        __m512i below = _mm512_setzero_si512();
        int step = 1;
        while (2 * step <= range_.high - range_.low) step *= 2;
        for (; step; step /= 2) {
            const __m512i trial = _mm512_add_epi16(found, _mm512_set1_epi16(int16_t(step)));
            const __m512i inside = at(trial);
            const __mmask32 taken =
                _mm512_cmple_epi16_mask(trial, most) & _mm512_cmple_epu16_mask(inside, slots);
            found = _mm512_mask_mov_epi16(found, taken, trial);
            below = _mm512_mask_mov_epi16(below, taken, inside);
        }
        const __m512i frequency = _mm512_sub_epi16(closed_above(found), below);
        const __mmask32 lanes = count == kLanes ? ~__mmask32(0) : (__mmask32(1) << count) - 1;
        _mm512_store_si512(value, _mm512_maskz_mov_epi16(lanes, found));
        if (decoder.end - decoder.words < 2 * kLanes || count < kLanes) {
            alignas(64) uint16_t belows[kLanes], frequencies[kLanes];
            _mm512_store_si512(belows, below);
            _mm512_store_si512(frequencies, frequency);
            return advance(decoder, count, belows, frequencies);
        }
        for (int half = 0; half < 2; half++) {
            const __m512i b = widen(below, half), f = widen(frequency, half);
            __m512i state = _mm512_load_si512(decoder.state + 16 * half);
            const __m512i slot = _mm512_and_si512(state, _mm512_set1_epi32(0xFFFF));
            state = _mm512_add_epi32(_mm512_mullo_epi32(f, _mm512_srli_epi32(state, 16)), _mm512_sub_epi32(slot, b));
            const __mmask16 low = _mm512_cmplt_epu32_mask(state, _mm512_set1_epi32(65536));
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

    // Probability, of 65536, that the value is below x; for x inside the range.
    __m512i at(__m512i x) const {
        __m512i sum = _mm512_sub_epi16(x, _mm512_set1_epi16(int16_t(range_.low)));
        const __m512i sixteenths = _mm512_slli_epi16(x, 4);
        for (int k = 0; k < kComponents; k++) {
            const __m512i distance = _mm512_sub_epi16(sixteenths, _mm512_loadu_si512(&mixture_.origin[k][at_]));
            __m512i position = _mm512_min_epu16(_mm512_abs_epi16(distance), _mm512_loadu_si512(&mixture_.limit[k][at_]));
            position = _mm512_mullo_epi16(position, _mm512_loadu_si512(&mixture_.power[k][at_]));
            position = _mm512_mulhi_epu16(position, _mm512_loadu_si512(&mixture_.mantissa[k][at_]));
            position = _mm512_min_epu16(position, _mm512_set1_epi16(8191));
            const __m512i knot = _mm512_srli_epi16(position, 7);
            const __m512i fraction = _mm512_slli_epi16(_mm512_and_si512(position, _mm512_set1_epi16(127)), 5);
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
        return _mm512_maskz_mov_epi16(_mm512_cmpgt_epi16_mask(x, _mm512_set1_epi16(int16_t(range_.low))), at(x));
    }

    // The same for x + 1, modulo 65536.
    __m512i closed_above(__m512i x) const {
        const __mmask32 inside = _mm512_cmplt_epi16_mask(x, _mm512_set1_epi16(int16_t(range_.high)));
        return _mm512_maskz_mov_epi16(inside, at(_mm512_add_epi16(x, _mm512_set1_epi16(1))));
    }

    const Mixture& mixture_;
    int at_;
    Range range_;
    __m512i tail_[2], delta_[2];
};

#include "kernels.inc"
#include "fit.inc"

}  // namespace

const Kernels kAvx512Kernels = {"avx512", encode, decode, sample, estimate};

}  // namespace llicti
