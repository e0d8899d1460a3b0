// Kernels for AMX: products of 8-bit matrices of 16x64 and 64x16, 16,384 multiply-accumulates an instruction; the rest
// is that of AVX-512.
#include <atomic>

#include "avx512.hpp"

namespace llicti {
namespace {

// The processor's eight tile registers, all of 16 rows of 64 bytes, while this object lives.
class AmxTiles {
public:
    AmxTiles() {
        Configuration configuration{};
        configuration.palette = 1;
        std::fill(configuration.rows, configuration.rows + 8, uint8_t(16));
        std::fill(configuration.row_bytes, configuration.row_bytes + 8, uint16_t(64));
        _tile_loadconfig(&configuration);
    }
    ~AmxTiles() { _tile_release(); }
    AmxTiles(const AmxTiles&) = delete;
    AmxTiles& operator=(const AmxTiles&) = delete;

private:
    struct alignas(64) Configuration {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    };
};

void arrange(const int8_t (*input)[kChunk], int quads, Activation* x) { arrange_quads(input, quads, 0, x); }

// Accumulators, without bias, of a row block: [output][pixel].
struct Totals {
    alignas(64) int32_t value[16][kChunk];
};

// Products of a row block and a chunk's pixels, left in tiles 0 to 3. Tile 4 holds weights, [output][input]; the
// others inputs, [quad][pixel][4], alternating so that one is loaded while another is used.
inline void multiply(const Layer& layer, int output, const Activation* x) {
    constexpr int kRow = 4 * kChunk;  // bytes of a quad
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const int8_t* weight = layer.weights(output);
    for (int k = 0; k < layer.stride; k += 64, weight += 64, x += 16 * kRow) {
        _tile_loadd(4, weight, layer.stride);
        _tile_loadd(5, x, kRow);
        _tile_dpbssd(0, 4, 5);
        _tile_loadd(6, x + 64, kRow);
        _tile_dpbssd(1, 4, 6);
        _tile_loadd(7, x + 128, kRow);
        _tile_dpbssd(2, 4, 7);
        _tile_loadd(5, x + 192, kRow);
        _tile_dpbssd(3, 4, 5);
    }
}

inline void store_products(Totals& totals) {
    constexpr int kRow = sizeof(totals.value[0]);
    _tile_stored(0, &totals.value[0][0], kRow);
    _tile_stored(1, &totals.value[0][16], kRow);
    _tile_stored(2, &totals.value[0][32], kRow);
    _tile_stored(3, &totals.value[0][48], kRow);
}

// From the accumulators of a row block to their activations.
template <bool is_short>
inline void requantise_row_block(const Layer& layer, int output, const int32_t* biases, const Totals& totals,
                                 Activation* y) {
    for (int o = 0; o < 16; o += 4) {
        const Requantiser<is_short> requantise(layer, output + o);
        __m512i bias[4];
        for (int i = 0; i < 4; i++) bias[i] = _mm512_set1_epi32(biases[output + o + i]);
        for (int v = 0; v < kVectors; v++) {
            const auto total = [&](int i) {
                return _mm512_add_epi32(bias[i], _mm512_load_si512(&totals.value[o + i][16 * v]));
            };
            _mm512_store_si512(y + (output + o) * kChunk + 64 * v, requantise(total(0), total(1), total(2), total(3)));
        }
    }
}

inline void finish_row_block(const Layer& layer, int block, const int32_t* biases, const Totals& totals,
                             Activation* y) {
    if (layer.is_short(16 * block))
        requantise_row_block<true>(layer, 16 * block, biases, totals, y);
    else
        requantise_row_block<false>(layer, 16 * block, biases, totals, y);
}

// Compilers do not know that loading a tile reads memory: what was written must be in place before.
inline void finish_writes() { std::atomic_signal_fence(std::memory_order_seq_cst); }

void dense_hidden(const Layer& layer, const int32_t* biases, const Activation* x, Activation* y) {
    Totals totals[2];
    finish_writes();
    // While the processor multiplies for a row block, the one before is requantised.
    for (int block = 0; block < layer.row_blocks; block++) {
        multiply(layer, 16 * block, x);
        if (block) finish_row_block(layer, block - 1, biases, totals[(block - 1) % 2], y);
        store_products(totals[block % 2]);
    }
    finish_row_block(layer, layer.row_blocks - 1, biases, totals[(layer.row_blocks - 1) % 2], y);
}

void dense_output(const Layer& layer, int output, const int32_t* biases, const Activation* x, int32_t (*y)[kChunk]) {
    Totals totals;
    finish_writes();
    multiply(layer, output, x);
    store_products(totals);
    for (int o = 0; o < 16; o++) {
        const __m512i bias = _mm512_set1_epi32(biases[output + o]);
        for (int p = 0; p < kChunk; p += 16) {
            const __m512i total = _mm512_add_epi32(bias, _mm512_load_si512(&totals.value[o][p]));
            store_output(total, layer.multipliers(output)[o], &y[o][p]);
        }
    }
}

#include "common.inc"
#include "adapt.inc"

uint32_t* encode_with_amx(const BandContext& context, int64_t start, int64_t stop, uint32_t* intervals) {
    const AmxTiles tiles;
    return encode(context, start, stop, intervals);
}

bool decode_with_amx(const BandContext& context, int64_t start, int64_t stop, StreamDecoder& decoder) {
    const AmxTiles tiles;
    return decode(context, start, stop, decoder);
}

void sample_with_amx(const BandContext& context, const int64_t* starts, bool hidden, SampleChunk& samples) {
    const AmxTiles tiles;
    sample(context, starts, hidden, samples);
}

}  // namespace

const Kernels kAmxKernels = {"amx", encode_with_amx, decode_with_amx, sample_with_amx, estimate};

}  // namespace llicti
