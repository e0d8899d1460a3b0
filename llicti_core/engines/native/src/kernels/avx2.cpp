// Kernels for AVX2: 64 multiply-accumulates in five instructions, 16 lanes a register.
#include <immintrin.h>

#include "scalar.hpp"

namespace llicti {
namespace {

using Activation = uint8_t;  // [quad][pixel][4]

constexpr int kPixels = 8;  // of 32 bits, in a register

inline __m256i load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline void store(void* to, __m256i x) { _mm256_storeu_si256(static_cast<__m256i*>(to), x); }

inline __m256i broadcast_32(const void* from) {
    int32_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    return _mm256_set1_epi32(bits);
}

// To value + 128: the instruction that multiplies bytes wants unsigned inputs.
void arrange(const int8_t (*input)[kChunk], int quads, Activation* x) {
    const __m256i flip = _mm256_set1_epi8(-128);
    for (int q = 0; q < quads; q++, input += 4) {
        for (int p = 0; p < kChunk; p += 32, x += 128) {
            const __m256i a = load(&input[0][p]), b = load(&input[1][p]), c = load(&input[2][p]),
                          d = load(&input[3][p]);
            const __m256i ab[2] = {_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};
            const __m256i cd[2] = {_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d)};
            for (int i = 0; i < 2; i++) {  // low 128 bits: pixels 8 * i and on; high ones: 16 later
                const __m256i low = _mm256_unpacklo_epi16(ab[i], cd[i]), high = _mm256_unpackhi_epi16(ab[i], cd[i]);
                store(x + 32 * i, _mm256_xor_si256(flip, _mm256_permute2x128_si256(low, high, 0x20)));
                store(x + 32 * i + 64, _mm256_xor_si256(flip, _mm256_permute2x128_si256(low, high, 0x31)));
            }
        }
    }
}

// Four outputs over 16 pixels: accumulators by output, then by register.
struct Block {
    __m256i total[4][2];

    explicit Block(const int32_t* bias) {
        for (int o = 0; o < 4; o++) total[o][0] = total[o][1] = _mm256_set1_epi32(bias[o]);
    }

    // Activations are less than 128, so that sums of two products fit in 16 bits; of four, where Layer says so.
    void add_hidden(const Layer& layer, const int8_t* weight, const Activation* x) {
        for (int q = 0; q < layer.quads; q++, weight += 4, x += 4 * kChunk) {
            const __m256i input[2] = {load(x), load(x + 32)};
            for (int o = 0; o < 4; o++) {
                const __m256i w = broadcast_32(weight + o * layer.stride);
                for (int v = 0; v < 2; v++) add_pairs(o, v, _mm256_maddubs_epi16(input[v], w));
            }
        }
    }

    void add_narrow_hidden(const Layer& layer, const int8_t* weight, const Activation* x) {
        // Rows of weights are padded with zeros, for which it does not matter what a quad too many holds.
        for (int q = 0; q < layer.quads; q += 2, weight += 8, x += 8 * kChunk) {
            const __m256i even[2] = {load(x), load(x + 32)}, odd[2] = {load(x + 4 * kChunk), load(x + 4 * kChunk + 32)};
            for (int o = 0; o < 4; o++) {
                const __m256i w_even = broadcast_32(weight + o * layer.stride);
                const __m256i w_odd = broadcast_32(weight + o * layer.stride + 4);
                for (int v = 0; v < 2; v++) {
                    add_pairs(
                        o, v,
                        _mm256_add_epi16(_mm256_maddubs_epi16(even[v], w_even), _mm256_maddubs_epi16(odd[v], w_odd)));
                }
            }
        }
    }

    // Inputs use all of 8 bits: unless Layer says that sums of two products fit, the even and the odd ones are
    // multiplied in 16 bits, as what they were before 128 was added.
    void add_first(const Layer& layer, const int16_t* weight, const Activation* x) {
        const __m256i flip = _mm256_set1_epi8(-128);
        for (int q = 0; q < layer.quads; q++, weight += 4, x += 4 * kChunk) {
            const __m256i input[2] = {_mm256_xor_si256(flip, load(x)), _mm256_xor_si256(flip, load(x + 32))};
            const __m256i even[2] = {_mm256_srai_epi16(_mm256_slli_epi16(input[0], 8), 8),
                                     _mm256_srai_epi16(_mm256_slli_epi16(input[1], 8), 8)};
            const __m256i odd[2] = {_mm256_srai_epi16(input[0], 8), _mm256_srai_epi16(input[1], 8)};
            for (int o = 0; o < 4; o++) {
                const __m256i w_even = broadcast_32(weight + o * layer.stride);
                const __m256i w_odd = broadcast_32(weight + o * layer.stride + 2);
                for (int v = 0; v < 2; v++) {
                    add(o, v, _mm256_madd_epi16(even[v], w_even));
                    add(o, v, _mm256_madd_epi16(odd[v], w_odd));
                }
            }
        }
    }

private:
    void add(int output, int vector, __m256i products) {
        total[output][vector] = _mm256_add_epi32(total[output][vector], products);
    }
    void add_pairs(int output, int vector, __m256i pairs) {
        add(output, vector, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
};

// Four outputs, from `output` on, of 16 pixels.
inline Block multiply(const Layer& layer, int output, const int32_t* bias, const Activation* x) {
    Block block(bias);
    const int8_t* weights = layer.weights(output);
    if (!layer.first) {
        if (layer.is_narrow(output))
            block.add_narrow_hidden(layer, weights, x);
        else
            block.add_hidden(layer, weights, x);
    } else if (layer.is_narrow(output)) {
        block.add_hidden(layer, weights, x);
    } else {
        block.add_first(layer, layer.split_weights(output), x);
    }
    return block;
}

// Calls visit(output, pixel, block) for the accumulators of every block.
template <class Visit>
inline void for_each_block(const Layer& layer, int first, int last, const int32_t* biases, const Activation* x,
                           Visit visit) {
    for (int output = first; output < last; output += 4) {
        const bool offset = layer.first && layer.is_narrow(output);
        int32_t bias[4];
        // Modulo 2**32, like the accumulators that start from it.
        for (int o = 0; o < 4; o++) {
            bias[o] = int32_t(uint32_t(biases[output + o]) - uint32_t(offset ? layer.input_offsets(output)[o] : 0));
        }
        for (int p = 0; p < kChunk; p += 2 * kPixels) visit(output, p, multiply(layer, output, bias, x + 4 * p));
    }
}

// Four outputs of eight pixels requantised to quads; in 16 bits where Layer says that will do.
inline __m256i requantise(const Layer& layer, int output, __m256i a, __m256i b, __m256i c, __m256i d) {
    __m256i packed;
    if (layer.is_short(output)) {
        const __m256i m = load(layer.short_multipliers(output)), zero = _mm256_setzero_si256();
        const __m256i low = _mm256_mulhi_epu16(_mm256_packus_epi32(a, b), _mm256_permute4x64_epi64(m, 0x44));
        const __m256i high = _mm256_mulhi_epu16(_mm256_packus_epi32(c, d), _mm256_permute4x64_epi64(m, 0xEE));
        packed = _mm256_packs_epi16(_mm256_avg_epu16(low, zero), _mm256_avg_epu16(high, zero));
    } else {
        const int32_t* m = layer.multipliers(output);
        const auto scaled = [&](__m256i total, int32_t multiplier) {
            const __m256i product = _mm256_mullo_epi32(total, _mm256_set1_epi32(multiplier));
            return _mm256_srai_epi32(_mm256_add_epi32(product, _mm256_set1_epi32(1 << (kHiddenShift - 1))),
                                     kHiddenShift);
        };
        packed = _mm256_packs_epi16(_mm256_packs_epi32(scaled(a, m[0]), scaled(b, m[1])),
                                    _mm256_packs_epi32(scaled(c, m[2]), scaled(d, m[3])));
        packed = _mm256_max_epi8(packed, _mm256_setzero_si256());
    }
    // From four pixels of each of four outputs, in every 128 bits, to four outputs of each pixel.
    const __m128i transpose = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm256_shuffle_epi8(packed, _mm256_broadcastsi128_si256(transpose));
}

void dense_hidden(const Layer& layer, const int32_t* biases, const Activation* x, Activation* y) {
    for_each_block(layer, 0, 16 * layer.row_blocks, biases, x, [&](int output, int p, const Block& block) {
        for (int v = 0; v < 2; v++) {
            store(
                y + output * kChunk + 4 * (p + kPixels * v),
                requantise(layer, output, block.total[0][v], block.total[1][v], block.total[2][v], block.total[3][v]));
        }
    });
}

void dense_output(const Layer& layer, int first, const int32_t* biases, const Activation* x, int32_t (*y)[kChunk]) {
    for_each_block(layer, first, first + 16, biases, x, [&](int output, int p, const Block& block) {
        const int32_t* m = layer.multipliers(output);
        for (int o = 0; o < 4; o++) {
            for (int v = 0; v < 2; v++) {
                const __m256i scaled = _mm256_mullo_epi32(block.total[o][v], _mm256_set1_epi32(m[o]));
                const __m256i half = _mm256_set1_epi32(1 << (kOutputShift - 1));
                store(&y[output - first + o][p + kPixels * v],
                      _mm256_srai_epi32(_mm256_add_epi32(scaled, half), kOutputShift));
            }
        }
    });
}

// The distribution of one channel for the lane batch at `at`: 32 lanes of 16 bits in two registers.
class Cumulative {
public:
    Cumulative(const Tables& tables, const Mixture& mixture, int at, Bounds bounds)
        : tables_(tables), mixture_(mixture), at_(at), bounds_(bounds) {}

    void intervals(const int16_t* value, uint32_t* out) const {
        for (int lane = 0; lane < kLanes; lane += 16, out += 16) {
            const __m256i x = load(value + lane), one = _mm256_set1_epi16(1);
            const __m256i cdf_low = _mm256_and_si256(_mm256_cmpgt_epi16(x, all(bounds_.low)), at(lane, x));
            const __m256i above =
                _mm256_and_si256(_mm256_cmpgt_epi16(all(bounds_.high), x), at(lane, _mm256_add_epi16(x, one)));
            const __m256i frequency = _mm256_sub_epi16(above, cdf_low);
            const __m256i low = _mm256_unpacklo_epi16(cdf_low, frequency),
                          high = _mm256_unpackhi_epi16(cdf_low, frequency);
            store(out, _mm256_permute2x128_si256(low, high, 0x20));
            store(out + 8, _mm256_permute2x128_si256(low, high, 0x31));
        }
    }

    bool decode(StreamDecoder& decoder, int count, int16_t* value) const {
        alignas(32) uint16_t cdf_low[kLanes], frequency[kLanes];
        for (int lane = 0; lane < kLanes; lane += 16) search(decoder.state, lane, value, cdf_low, frequency);
        std::fill(value + count, value + kLanes, int16_t(0));
        return advance(decoder, count, cdf_low, frequency);
    }

private:
    static __m256i all(int value) { return _mm256_set1_epi16(int16_t(value)); }

    // The values that 16 lanes' states point at.
    void search(const uint32_t* state, int lane, int16_t* value, uint16_t* cdf_low, uint16_t* frequency) const {
        const __m256i mask = _mm256_set1_epi32(0xFFFF);
        const __m256i slots =
            _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_and_si256(load(state + lane), mask),
                                                         _mm256_and_si256(load(state + lane + 8), mask)),
                                     0xD8);
        // Cumulatives of the greatest value not above the slot, and of the least above it: all 65536 but 0 here.
        __m256i found = all(bounds_.low), found_low = _mm256_setzero_si256(), found_high = _mm256_setzero_si256();
        int step = 1;
        while (2 * step <= bounds_.high - bounds_.low) step *= 2;
        for (; step; step /= 2) {
            const __m256i trial = _mm256_add_epi16(found, all(step));
            const __m256i inside = at(lane, trial);
            const __m256i impossible = _mm256_cmpgt_epi16(trial, all(bounds_.high));
            const __m256i low = _mm256_cmpeq_epi16(_mm256_min_epu16(inside, slots), inside);
            const __m256i taken = _mm256_andnot_si256(impossible, low);
            found = _mm256_blendv_epi8(found, trial, taken);
            found_low = _mm256_blendv_epi8(found_low, inside, taken);
            found_high = _mm256_blendv_epi8(inside, found_high, _mm256_or_si256(impossible, low));
        }
        store(value + lane, found);
        store(cdf_low + lane, found_low);
        store(frequency + lane, _mm256_sub_epi16(found_high, found_low));
    }

    // Probability, of 65536, that the values of 16 lanes are below x; for x inside the bounds.
    __m256i at(int lane, __m256i x) const {
        __m256i sum = _mm256_sub_epi16(x, all(bounds_.low));
        const __m256i sixteenths = _mm256_slli_epi16(x, kFineShift);
        for (int k = 0; k < kComponents; k++) {
            const int p = at_ + lane;
            const __m256i distance = _mm256_sub_epi16(sixteenths, load(&mixture_.origin[k][p]));
            __m256i position = _mm256_min_epu16(_mm256_abs_epi16(distance), load(&mixture_.limit[k][p]));
            position = _mm256_mullo_epi16(position, load(&mixture_.power[k][p]));
            position = _mm256_mulhi_epu16(position, load(&mixture_.mantissa[k][p]));
            position = _mm256_min_epu16(position, all(kMaxPosition));
            __m256i part = tail(position);
            const __m256i upper = _mm256_cmpgt_epi16(distance, all(-1));
            part = _mm256_xor_si256(part, upper);  // 65535 - part where upper
            sum = _mm256_add_epi16(sum, _mm256_mulhi_epu16(part, load(&mixture_.weight[k][p])));
        }
        return sum;
    }

    // The table of tails, interpolated, at positions of 16 bits.
    __m256i tail(__m256i position) const {
        const __m256i knot = _mm256_srli_epi16(position, kFractionBits), zero = _mm256_setzero_si256();
        const auto* table = reinterpret_cast<const int*>(tables_.tail_and_delta.data());
        const __m256i low = _mm256_i32gather_epi32(table, _mm256_unpacklo_epi16(knot, zero), 4);
        const __m256i high = _mm256_i32gather_epi32(table, _mm256_unpackhi_epi16(knot, zero), 4);
        const __m256i mask = _mm256_set1_epi32(0xFFFF);
        const __m256i tails = _mm256_packus_epi32(_mm256_and_si256(low, mask), _mm256_and_si256(high, mask));
        const __m256i deltas = _mm256_packus_epi32(_mm256_srli_epi32(low, 16), _mm256_srli_epi32(high, 16));
        const __m256i fraction = _mm256_slli_epi16(_mm256_and_si256(position, all(kFractionMask)), 5);
        return _mm256_sub_epi16(tails, _mm256_mulhi_epu16(deltas, fraction));
    }

    const Tables& tables_;
    const Mixture& mixture_;
    int at_;
    Bounds bounds_;
};

#include "common.inc"
#include "adapt.inc"

}  // namespace

const Kernels kAvx2Kernels = {"avx2", encode, decode, sample, estimate};

}  // namespace llicti
