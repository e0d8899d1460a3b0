// Vectors of AVX2; where LLICTI_AVXVNNI is defined, with its products of four bytes.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "kernels/kernels.hpp"
#include "kernels/pairs.hpp"

namespace llicti {
namespace {

struct Simd {
    static constexpr int kBlock = 16, kRows = kPair, kTogether = 2;
    static constexpr int kPartBytes = 2 * kBlock;                  // of a quad of inputs of a part of the lanes
    static constexpr int kQuadBytes = 2 * kTogether * kPartBytes;  // from a quad to the next
    static constexpr bool kUnsignedInputs = true;
    using Input = uint8_t;
    using I16 = __m256i;
    using I32 = __m256i;  // lanes 0-3 and 8-11, or 4-7 and 12-15
    using Mask = __m256i;
    struct Index {
        __m256i low, high;  // with each other byte out of the table
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

    static __m256i loads(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
    static void stores(void* to, __m256i a) { _mm256_storeu_si256(static_cast<__m256i*>(to), a); }

    static I16 load(const int16_t* from) { return loads(from); }
    static void store(int16_t* to, I16 a) { stores(to, a); }
    static I16 set(int value) { return _mm256_set1_epi16(int16_t(value)); }
    static I16 add(I16 a, I16 b) { return _mm256_add_epi16(a, b); }
    static I16 sub(I16 a, I16 b) { return _mm256_sub_epi16(a, b); }
    static I16 add_saturated(I16 a, I16 b) { return _mm256_adds_epi16(a, b); }
    static I16 min(I16 a, I16 b) { return _mm256_min_epi16(a, b); }
    static I16 max(I16 a, I16 b) { return _mm256_max_epi16(a, b); }
    static I16 min_unsigned(I16 a, I16 b) { return _mm256_min_epu16(a, b); }
    static I16 abs(I16 a) { return _mm256_abs_epi16(a); }
    static I16 mulhi(I16 a, I16 b) { return _mm256_mulhi_epi16(a, b); }
    static I16 mulhi_unsigned(I16 a, I16 b) { return _mm256_mulhi_epu16(a, b); }
    static I16 half_up(I16 a) { return _mm256_avg_epu16(a, _mm256_setzero_si256()); }  // (a + 1) >> 1
    static I16 mullo(I16 a, I16 b) { return _mm256_mullo_epi16(a, b); }
    template <int n>
    static I16 sll(I16 a) {
        return _mm256_slli_epi16(a, n);
    }
    template <int n>
    static I16 srl(I16 a) {
        return _mm256_srli_epi16(a, n);
    }
    template <int n>
    static I16 sra(I16 a) {
        return _mm256_srai_epi16(a, n);
    }
    static I16 bit_and(I16 a, I16 b) { return _mm256_and_si256(a, b); }
    static I16 bit_or(I16 a, I16 b) { return _mm256_or_si256(a, b); }
    // a where d < 0, else its complement.
    static I16 flip_unless_negative(I16 a, I16 d) { return _mm256_xor_si256(a, _mm256_cmpgt_epi16(d, set(-1))); }

    static Index index(I16 a) { return {bit_or(a, set(-0x8000)), bit_or(sll<8>(a), set(0x80))}; }
    static Index index_of_high_byte(I16 a) { return {bit_or(srl<8>(a), set(-0x8000)), bit_or(a, set(0x80))}; }
    static I16 lookup(const Table& table, Index index) {
        return bit_or(_mm256_shuffle_epi8(both_halves(table.low), index.low),
                      _mm256_shuffle_epi8(both_halves(table.high), index.high));
    }
    static __m256i both_halves(const uint8_t* bytes) {
        return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
    }

    static Mask greater(I16 a, I16 b) { return _mm256_cmpgt_epi16(a, b); }
    static Mask greater_unsigned(I16 a, I16 b) { return _mm256_xor_si256(equal(min_unsigned(a, b), a), set(-1)); }
    static Mask equal(I16 a, I16 b) { return _mm256_cmpeq_epi16(a, b); }
    static I16 blend(Mask mask, I16 a, I16 b) { return _mm256_blendv_epi8(b, a, mask); }
    static Mask mask_and(Mask a, Mask b) { return _mm256_and_si256(a, b); }
    static Mask mask_and_not(Mask a, Mask b) { return _mm256_andnot_si256(a, b); }  // b without a
    static Mask mask_or(Mask a, Mask b) { return _mm256_or_si256(a, b); }
    static Mask mask_xor(Mask a, Mask b) { return _mm256_xor_si256(a, b); }
    static bool any(Mask a) { return !_mm256_testz_si256(a, a); }
    static Mask lane_mask(uint32_t bits) {
        const __m256i bit =
            _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, int16_t(0x8000));
        return equal(bit_and(set(int16_t(bits)), bit), bit);
    }
    static I16 lanes(uint32_t bits) { return lane_mask(bits); }

    // The first half of a block's lanes, lying where the first of a block's two parts has its own.
    struct Half {
        static I16 load(const int16_t* from) {
            const __m128i lanes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
            return _mm256_permute4x64_epi64(_mm256_castsi128_si256(lanes), 0x50);
        }
        static void store(int16_t* to, I16 a) {
            const __m128i lanes = _mm256_castsi256_si128(_mm256_permute4x64_epi64(a, 0x58));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to), lanes);
        }
        static I16 lanes(uint32_t bits) {
            const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 1, 2, 4, 8, 16, 32, 64, 128, 16, 32, 64, 128);
            return equal(bit_and(set(int16_t(bits)), bit), bit);
        }
    };

    // Bytes of saturated numbers, the four of a lane side by side, lanes as in I32.
    static void store_bytes(uint8_t* to, __m256i ab, __m256i cd) {
        const __m256i ac = _mm256_unpacklo_epi8(ab, cd), bd = _mm256_unpackhi_epi8(ab, cd);
        stores(to, _mm256_unpacklo_epi8(ac, bd));
        stores(to + 32, _mm256_unpackhi_epi8(ac, bd));
    }
    static void store_inputs(uint8_t* x, int quad, I16 a, I16 b, I16 c, I16 d) {
        const __m256i flip = _mm256_set1_epi8(-128);
        store_bytes(x + kQuadBytes * quad, _mm256_xor_si256(_mm256_packs_epi16(a, b), flip),
                    _mm256_xor_si256(_mm256_packs_epi16(c, d), flip));
    }
    static void store_activations(uint8_t* x, int quad, I16 a, I16 b, I16 c, I16 d) {
        store_bytes(x + kQuadBytes * quad, _mm256_packs_epi16(a, b), _mm256_packs_epi16(c, d));
    }
    static I16 low_halves(const uint32_t* from) {
        const __m256i mask = _mm256_set1_epi32(0xFFFF);
        const __m256i packed =
            _mm256_packus_epi32(_mm256_and_si256(loads(from), mask), _mm256_and_si256(loads(from + 8), mask));
        return _mm256_permute4x64_epi64(packed, 0xD8);
    }

    // Takes the decoded intervals off the active lanes. Returns false where the words run out.
    static bool take_off(StreamDecoder& decoder, uint32_t active, const uint16_t* cdf_low, const uint16_t* frequency) {
        for (int lane = 0; lane < kLanes; lane += 8) {
            const __m256i mask = wide_lane_mask(active >> lane);
            const __m256i state = loads(&decoder.state[lane]);
            const __m256i high = _mm256_srli_epi32(state, 16);
            const __m256i low = _mm256_and_si256(state, _mm256_set1_epi32(0xFFFF));
            __m256i next = _mm256_add_epi32(_mm256_mullo_epi32(widen(frequency + lane), high),
                                            _mm256_sub_epi32(low, widen(cdf_low + lane)));
            const __m256i is_short =
                _mm256_and_si256(_mm256_cmpeq_epi32(_mm256_srli_epi32(next, 16), _mm256_setzero_si256()), mask);
            const auto short_of = unsigned(_mm256_movemask_ps(_mm256_castsi256_ps(is_short)));
            if (short_of) {
                // The words of the lanes that need one, in order.
                const ptrdiff_t left = decoder.end - decoder.words;
                const int used = 2 * __builtin_popcount(short_of);
                if (left < used) return false;
                alignas(16) uint8_t last[16] = {};
                const uint8_t* from = decoder.words;
                if (left < 16) from = static_cast<const uint8_t*>(std::memcpy(last, from, size_t(left)));
                decoder.words += used;
                const __m256i words = widen(from);
                const __m256i places =
                    _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kWordOfLane.of[short_of])));
                const __m256i filled =
                    _mm256_or_si256(_mm256_slli_epi32(next, 16), _mm256_permutevar8x32_epi32(words, places));
                next = _mm256_blendv_epi8(next, filled, is_short);
            }
            stores(&decoder.state[lane], _mm256_blendv_epi8(state, next, mask));
        }
        return true;
    }
    // See Kernels.
    static uint8_t* put_on(const uint32_t* intervals, uint32_t lanes, uint32_t* state, uint8_t* words) {
        const __m256i low_half = _mm256_set1_epi32(0xFFFF);
        for (int lane = kLanes - 8; lane >= 0; lane -= 8) {
            const __m256i interval = _mm256_and_si256(loads(intervals + lane), wide_lane_mask(lanes >> lane));
            const __m256i before = loads(state + lane);
            const __m256i frequency = _mm256_srli_epi32(interval, 16), high = _mm256_srli_epi32(before, 16);
            const __m256i unused = _mm256_cmpeq_epi32(frequency, _mm256_setzero_si256());
            const __m256i fits = _mm256_or_si256(_mm256_cmpgt_epi32(frequency, high), unused);
            const int full = ~_mm256_movemask_ps(_mm256_castsi256_ps(fits)) & 0xFF;
            const __m256i places =
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kLaneOfWord.of[full])));
            const __m256i taken = _mm256_and_si256(_mm256_permutevar8x32_epi32(before, places), low_half);
            const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(taken), _mm256_extracti128_si256(taken, 1));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(words - 16), packed);
            words -= 2 * __builtin_popcount(unsigned(full));
            const __m256i x = _mm256_blendv_epi8(high, before, fits);
            // The quotient is below 2^16 and this estimate less than 2^-5 beside it, so that, rounded, it is right or
            // one too large.
            const __m256i divisor = _mm256_or_si256(frequency, _mm256_srli_epi32(unused, 31));
            const __m256 upper = _mm256_cvtepi32_ps(_mm256_srli_epi32(x, 16));
            const __m256 lower = _mm256_cvtepi32_ps(_mm256_and_si256(x, low_half));
            const __m256 dividend = _mm256_add_ps(_mm256_mul_ps(upper, _mm256_set1_ps(65536)), lower);
            const __m256 quotient = _mm256_div_ps(dividend, _mm256_cvtepi32_ps(divisor));
            __m256i whole = _mm256_cvttps_epi32(_mm256_add_ps(quotient, _mm256_set1_ps(0.5F)));
            __m256i rest = _mm256_sub_epi32(x, _mm256_mullo_epi32(whole, divisor));
            const __m256i too_large = _mm256_srai_epi32(rest, 31);
            whole = _mm256_add_epi32(whole, too_large);
            rest = _mm256_add_epi32(rest, _mm256_and_si256(divisor, too_large));
            const __m256i after = _mm256_add_epi32(_mm256_add_epi32(_mm256_slli_epi32(whole, 16), rest),
                                                   _mm256_and_si256(interval, low_half));
            stores(state + lane, _mm256_blendv_epi8(after, before, unused));
        }
        return words;
    }
    // Of each set of eight lanes, as bits, the lane of each of its words, which are the last of eight.
    struct LaneOfWord {
        constexpr LaneOfWord() : of() {
            for (int set = 0; set < 256; set++) {
                for (int lane = 8, word = 8; lane-- > 0;) {
                    if (set >> lane & 1) of[set][--word] = uint8_t(lane);
                }
            }
        }
        uint8_t of[256][8];
    };
    static const LaneOfWord kLaneOfWord;
    // Of each set of eight lanes, as bits, which of its words is each lane's.
    struct WordOfLane {
        constexpr WordOfLane() : of() {
            for (int set = 0; set < 256; set++) {
                for (int lane = 0, word = 0; lane < 8; lane++) {
                    of[set][lane] = uint8_t(word);
                    word += set >> lane & 1;
                }
            }
        }
        uint8_t of[256][8];
    };
    static const WordOfLane kWordOfLane;
    static __m256i widen(const void* from) {
        return _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(from)));
    }
    static __m256i wide_lane_mask(uint32_t bits) {
        const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int32_t(bits)), bit), bit);
    }

    static I16 narrow(I32 low, I32 high) { return _mm256_packs_epi32(low, high); }
    static I16 narrow_unsigned(I32 low, I32 high) { return _mm256_packus_epi32(low, high); }
    template <int n>
    static I32 round_shift(I32 a, int32_t factor) {
        return affine_shift<n>(a, factor, 1 << (n - 1));
    }
    template <int n>
    static I32 affine_shift(I32 a, int32_t factor, int32_t offset) {
        const __m256i product = _mm256_mullo_epi32(a, _mm256_set1_epi32(factor));
        return _mm256_srai_epi32(_mm256_add_epi32(product, _mm256_set1_epi32(offset)), n);
    }

    // Sums of both outputs for a part of the lanes: names, not an array, which GCC would move to and fro.
    struct Sums {
        I32 first, second;
    };
#ifdef LLICTI_AVXVNNI
    static void pack_weights(const Layer& layer, bool, PackedLayer& packed) { pack_pairs(layer, kQuadBytes, packed); }
    template <int parts>
    __attribute__((always_inline)) static void accumulate(const PackedLayer& layer, int block, const int32_t* bias,
                                                          const uint8_t* x, I32 (*total)[kRows]) {
        auto [count, weight, offset] = pair_of(layer, block);
        Sums sums[parts];
        for (Sums& each : sums) each = {_mm256_set1_epi32(bias[0]), _mm256_set1_epi32(bias[1])};
        for (; count > 0; count--, offset++, weight += kRows) {
            const __m256i first = _mm256_set1_epi32(weight[0]), second = _mm256_set1_epi32(weight[1]);
            for (int part = 0; part < parts; part++) {
                const __m256i inputs = loads(x + *offset + part * kPartBytes);
                sums[part].first = _mm256_dpbusd_avx_epi32(sums[part].first, inputs, first);
                sums[part].second = _mm256_dpbusd_avx_epi32(sums[part].second, inputs, second);
            }
        }
        for (int part = 0; part < parts; part++) {
            total[part][0] = sums[part].first;
            total[part][1] = sums[part].second;
        }
    }
#else
    // Products are summed up in 16 bits over runs of quads, which are as long as their sums are sure to fit: a length
    // of kLengths for each of RowBlock's counts. Two outputs are taken together: more would have to fit at once. Where
    // the products of one quad alone could leave 16 bits, its weights are halved and it is taken twice.
    static constexpr size_t kLengths[kRunLengths] = {8, 6, 4, 3, 2, 1};

    static void pack_weights(const Layer& layer, bool first, PackedLayer& packed) {
        const int most = 32767 / (first ? 255 : kActivationMax);
        std::vector<Quad> quads, left;
        for (int row = 0; row < packed.rows; row += kRows) {
            quads.clear();
            for (int number = 0; number < packed.quads; number++) {
                Quad quad{{}, number};
                for (int i = 0; i < kRows && row + i < layer.out; i++) {
                    const int8_t* weight = &layer.weight[size_t(row + i) * size_t(layer.in) + size_t(4 * number)];
                    std::copy_n(weight, std::min(4, layer.in - 4 * number), quad.weight[i]);
                }
                add_quad(quad, most, quads);
            }
            pack_runs(quads, left, most, packed);
        }
    }

    // Four inputs' weights of two outputs.
    struct Quad {
        int8_t weight[kRows][4];
        int number;
        // By output and pair of inputs, the sums of the weights above zero, and then of those below.
        __m128i sums() const {
            const __m128i weights = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(weight));
            const __m128i both = _mm_unpacklo_epi64(weights, _mm_sub_epi8(_mm_setzero_si128(), weights));
            return _mm_maddubs_epi16(_mm_max_epi8(both, _mm_setzero_si128()), _mm_set1_epi8(1));
        }
    };
    static_assert(sizeof(Quad::weight) == 8);

    static int largest(__m128i sums) {
        return 0x7FFF - (_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_sub_epi16(_mm_set1_epi16(0x7FFF), sums))) & 0xFFFF);
    }

    static void add_quad(const Quad& quad, int most, std::vector<Quad>& quads) {
        const int reach = largest(quad.sums());
        if (reach <= most) {
            if (reach) quads.push_back(quad);
            return;
        }
        Quad half = quad, rest = quad;
        for (int i = 0; i < kRows; i++) {
            for (int k = 0; k < 4; k++) {
                half.weight[i][k] /= 2;
                rest.weight[i][k] = int8_t(quad.weight[i][k] - half.weight[i][k]);
            }
        }
        add_quad(half, most, quads);
        add_quad(rest, most, quads);
    }

    // To the largest quad left, the largest others that still fit, until no run is longer. Uses `quads` and `left` up.
    static void pack_runs(std::vector<Quad>& quads, std::vector<Quad>& left, int most, PackedLayer& packed) {
        std::sort(quads.begin(), quads.end(), [](const Quad& a, const Quad& b) {
            const int x = largest(a.sums()), y = largest(b.sums());
            return x != y ? x > y : a.number < b.number;
        });
        std::vector<Quad> runs[kRunLengths];
        for (; !quads.empty(); quads.swap(left)) {
            Quad run[kLengths[0]];
            size_t count = 0;
            __m128i sums = _mm_setzero_si128();
            left.clear();
            for (const Quad& quad : quads) {
                const __m128i sum = _mm_add_epi16(sums, quad.sums());
                if (count < kLengths[0] && largest(sum) <= most) {
                    run[count++] = quad;
                    sums = sum;
                } else {
                    left.push_back(quad);
                }
            }
            size_t kind = 0;
            while (kLengths[kind] > count) kind++;
            runs[kind].insert(runs[kind].end(), run, run + kLengths[kind]);
            left.insert(left.end(), run + kLengths[kind], run + count);
        }
        RowBlock block{uint32_t(packed.weight.size()), {}};
        for (size_t kind = 0; kind < kRunLengths; kind++) {
            block.count[kind] = uint16_t(runs[kind].size() / kLengths[kind]);
            for (const Quad& quad : runs[kind]) {
                packed.offset.push_back(uint16_t(kQuadBytes * quad.number));
                for (const int8_t (&weight)[4] : quad.weight) {
                    packed.weight.emplace_back();
                    std::memcpy(&packed.weight.back(), weight, sizeof(weight));
                }
            }
        }
        packed.block.push_back(block);
    }

    template <int parts>
    __attribute__((always_inline)) static void accumulate(const PackedLayer& layer, int block, const int32_t* bias,
                                                          const uint8_t* x, I32 (*total)[kRows]) {
        // Totals are to stay where they are in memory: GCC would keep copies of all of them from loop to loop.
        asm("" : "+r"(total));
        for (int part = 0; part < parts; part++) {
            for (int row = 0; row < kRows; row++) total[part][row] = _mm256_set1_epi32(bias[row]);
        }
        const RowBlock& runs = layer.block[size_t(block)];
        const int32_t* weight = layer.weight.data() + runs.weight;  // where there are no runs left, one past the end
        const uint16_t* offset = layer.offset.data() + runs.weight / kRows;
        const auto sum_up_runs = [&](auto kind) {
            constexpr int length = kLengths[kind];
            for (int i = runs.count[kind]; i > 0; i--, offset += length, weight += length * kRows) {
                sum_up<parts, length>(x, offset, weight, total);
            }
        };
        sum_up_runs(std::integral_constant<size_t, 0>());
        sum_up_runs(std::integral_constant<size_t, 1>());
        sum_up_runs(std::integral_constant<size_t, 2>());
        sum_up_runs(std::integral_constant<size_t, 3>());
        sum_up_runs(std::integral_constant<size_t, 4>());
        sum_up_runs(std::integral_constant<size_t, 5>());
        static_assert(kRunLengths == 6);
    }
    template <int parts, int length>
    __attribute__((always_inline)) static void sum_up(const uint8_t* x, const uint16_t* offset, const int32_t* weight,
                                                      I32 (*total)[kRows]) {
        Sums sums[parts];
        for (int part = 0; part < parts; part++) sums[part] = products(x + *offset + part * kPartBytes, weight);
#pragma GCC unroll 8
        for (int i = 1; i < length; i++) {
            for (int part = 0; part < parts; part++) {
                add_products(sums[part], x + offset[i] + part * kPartBytes, weight + i * kRows);
            }
        }
        for (int part = 0; part < parts; part++) {
            add_widened(total[part][0], sums[part].first);
            add_widened(total[part][1], sums[part].second);
        }
    }
    static __m256i product(__m256i x, const int32_t* weight) {
        return _mm256_maddubs_epi16(x, _mm256_set1_epi32(*weight));
    }
    static Sums products(const uint8_t* x, const int32_t* weight) {
        const __m256i inputs = loads(x);
        return {product(inputs, weight), product(inputs, weight + 1)};
    }
    static void add_products(Sums& sums, const uint8_t* x, const int32_t* weight) {
        const __m256i inputs = loads(x);
        add_product(sums.first, inputs, weight);
        add_product(sums.second, inputs, weight + 1);
    }
    static void add_product(__m256i& sum, __m256i x, const int32_t* weight) {
        sum = _mm256_add_epi16(sum, product(x, weight));
        // It is to be in a register here: GCC would rather put all products first, and then most of them in memory.
        asm("" : "+x"(sum));
    }
    static void add_widened(I32& total, __m256i sums) {
        total = _mm256_add_epi32(total, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
    }
#endif
};

constexpr Simd::WordOfLane Simd::kWordOfLane;
constexpr Simd::LaneOfWord Simd::kLaneOfWord;

}  // namespace
}  // namespace llicti
