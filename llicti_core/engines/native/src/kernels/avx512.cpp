// Kernels for AVX-512 with VNNI: 64 multiply-accumulates an instruction, 32 lanes a register.
#include "avx512.hpp"

namespace llicti {
namespace {

// The dot product instruction wants unsigned inputs.
void arrange(const int8_t (*input)[kChunk], int quads, Activation* x) { arrange_quads(input, quads, 128, x); }

// A chunk's inputs of one quad, or accumulators of one output. Named, not indexed: loops over an array of accumulators
// leave GCC moving registers about.
struct Row {
    __m512i a, b, c, d;

    explicit Row(int32_t value) { a = b = c = d = _mm512_set1_epi32(value); }
    explicit Row(const Activation* x)
        : a(_mm512_load_si512(x)),
          b(_mm512_load_si512(x + 64)),
          c(_mm512_load_si512(x + 128)),
          d(_mm512_load_si512(x + 192)) {}

    void add_product(const Row& x, const int8_t* weights) {
        int32_t quad;
        std::memcpy(&quad, weights, sizeof(quad));
        const __m512i w = _mm512_set1_epi32(quad);
        a = _mm512_dpbusd_epi32(a, x.a, w);
        b = _mm512_dpbusd_epi32(b, x.b, w);
        c = _mm512_dpbusd_epi32(c, x.c, w);
        d = _mm512_dpbusd_epi32(d, x.d, w);
    }

    void store(__m512i (&totals)[kVectors]) const {
        totals[0] = a;
        totals[1] = b;
        totals[2] = c;
        totals[3] = d;
    }
};
static_assert(kVectors == 4, "a row is a chunk");

// Accumulators of 4 outputs, by output and register.
using Totals = __m512i[4][kVectors];

// Not inlined, for the compiler's sake too.
[[gnu::noinline]] void accumulate(const int8_t* weight, size_t stride, const int32_t* bias, int quads,
                                  const Activation* x, Totals& totals) {
    Row first(bias[0]), second(bias[1]), third(bias[2]), fourth(bias[3]);
    for (int q = 0; q < quads; q++, weight += 4, x += 4 * kChunk) {
        const Row input(x);
        first.add_product(input, weight);
        second.add_product(input, weight + stride);
        third.add_product(input, weight + 2 * stride);
        fourth.add_product(input, weight + 3 * stride);
    }
    first.store(totals[0]);
    second.store(totals[1]);
    third.store(totals[2]);
    fourth.store(totals[3]);
}

inline void accumulate(const Layer& layer, int output, const int32_t* biases, const Activation* x, Totals& totals) {
    int32_t bias[4];
    // Modulo 2**32, like the accumulators that start from it.
    for (int o = 0; o < 4; o++) {
        bias[o] = int32_t(uint32_t(biases[output + o]) - uint32_t(layer.first ? layer.input_offsets(output)[o] : 0));
    }
    accumulate(layer.weights(output), size_t(layer.stride), bias, layer.quads, x, totals);
}

template <bool is_short>
inline void hidden_row_block(const Layer& layer, int first, const int32_t* biases, const Activation* x, Activation* y) {
    for (int output = first; output < first + 16; output += 4) {
        Totals totals;
        accumulate(layer, output, biases, x, totals);
        const Requantiser<is_short> requantise(layer, output);
        for (int v = 0; v < kVectors; v++) {
            _mm512_store_si512(y + output * kChunk + 64 * v,
                               requantise(totals[0][v], totals[1][v], totals[2][v], totals[3][v]));
        }
    }
}

void dense_hidden(const Layer& layer, const int32_t* biases, const Activation* x, Activation* y) {
    for (int output = 0; output < 16 * layer.row_blocks; output += 16) {
        const auto block = layer.is_short(output) ? hidden_row_block<true> : hidden_row_block<false>;
        block(layer, output, biases, x, y);
    }
}

void dense_output(const Layer& layer, int first, const int32_t* biases, const Activation* x, int32_t (*y)[kChunk]) {
    for (int output = first; output < first + 16; output += 4) {
        Totals totals;
        accumulate(layer, output, biases, x, totals);
        const int32_t* multiplier = layer.multipliers(output);
        for (int o = 0; o < 4; o++) {
            for (int v = 0; v < kVectors; v++)
                store_output(totals[o][v], multiplier[o], &y[output - first + o][16 * v]);
        }
    }
}

#include "common.inc"
#include "adapt.inc"

}  // namespace

const Kernels kAvx512Kernels = {"avx512", encode, decode, sample, estimate};

}  // namespace llicti
