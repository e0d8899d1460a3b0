// Kernels in plain C++, for any processor.
#include "scalar.hpp"

namespace llicti {
namespace {

using Activation = int16_t;  // [pixel][kPixelInputs]

constexpr int kPixelInputs = kMaxWidth;
void arrange(const int8_t (*input)[kChunk], int quads, Activation* x) {
    for (int k = 0; k < 4 * quads; k++) {
        for (int p = 0; p < kChunk; p++) x[p * kPixelInputs + k] = input[k][p];
    }
}

// Four outputs' weights, in the type that is multiplied.
struct Weights {
    int16_t row[4][kMaxWidth];

    Weights(const Layer& layer, int output) {
        for (int o = 0; o < 4; o++) std::copy_n(layer.weights(output + o), layer.stride, row[o]);
    }
};

// Accumulators of four outputs of one pixel. Sums of products of 16 bits are what every compiler vectorises well.
inline void accumulate(const Weights& weights, const int32_t* bias, int inputs, const Activation* x,
                       int32_t (&total)[4]) {
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (int k = 0; k < inputs; k++) {
        a += x[k] * weights.row[0][k];
        b += x[k] * weights.row[1][k];
        c += x[k] * weights.row[2][k];
        d += x[k] * weights.row[3][k];
    }
    total[0] = a + bias[0];
    total[1] = b + bias[1];
    total[2] = c + bias[2];
    total[3] = d + bias[3];
}

// Calls visit(output, pixel, accumulator times multiplier) for all of it.
template <class Visit>
void for_each_product(const Layer& layer, int first, int last, const int32_t* biases, const Activation* x,
                      Visit visit) {
    for (int output = first; output < last; output += 4) {
        const Weights weights(layer, output);
        const int32_t* multiplier = layer.multipliers(output);
        for (int p = 0; p < kChunk; p++) {
            int32_t total[4];
            accumulate(weights, biases + output, 4 * layer.quads, x + p * kPixelInputs, total);
            for (int o = 0; o < 4; o++) visit(output + o, p, total[o] * multiplier[o]);
        }
    }
}

void dense_hidden(const Layer& layer, const int32_t* biases, const Activation* x, Activation* y) {
    for_each_product(layer, 0, 16 * layer.row_blocks, biases, x, [&](int output, int p, int32_t product) {
        const int32_t scaled = (product + (1 << (kHiddenShift - 1))) >> kHiddenShift;
        y[p * kPixelInputs + output] = Activation(std::min(std::max(scaled, 0), kActivationMax));
    });
}

void dense_output(const Layer& layer, int first, const int32_t* biases, const Activation* x, int32_t (*y)[kChunk]) {
    for_each_product(layer, first, first + 16, biases, x,
                     [&](int output, int p, int32_t product) { y[output - first][p] = fine_output(product); });
}

// The distribution of one channel for the lane batch at `at`.
class Cumulative {
public:
    Cumulative(const Tables& tables, const Mixture& mixture, int at, Bounds bounds)
        : tables_(tables), mixture_(mixture), at_(at), bounds_(bounds) {}

    void intervals(const int16_t* value, uint32_t* out) const {
        for (int lane = 0; lane < kLanes; lane++) {
            const uint32_t cdf_low = at(lane, value[lane]);
            out[lane] = cdf_low | uint32_t(uint16_t(at(lane, value[lane] + 1) - cdf_low)) << 16;
        }
    }

    bool decode(StreamDecoder& decoder, int count, int16_t* value) const {
        uint16_t cdf_low[kLanes], frequency[kLanes];
        int first_step = 1;
        while (2 * first_step <= bounds_.high - bounds_.low) first_step *= 2;
        for (int lane = 0; lane < count; lane++) {
            const uint32_t slot = decoder.state[lane] & 0xFFFF;
            int found = bounds_.low;
            for (int step = first_step; step; step /= 2) {
                if (found + step <= bounds_.high && at(lane, found + step) <= slot) found += step;
            }
            value[lane] = int16_t(found);
            cdf_low[lane] = at(lane, found);
            frequency[lane] = uint16_t(at(lane, found + 1) - cdf_low[lane]);
        }
        std::fill(value + count, value + kLanes, int16_t(0));
        return advance(decoder, count, cdf_low, frequency);
    }

private:
    // Probability, of 65536 and modulo it, that the value is below x.
    uint16_t at(int lane, int x) const {
        if (x <= bounds_.low || x > bounds_.high) return 0;
        uint32_t sum = uint32_t(x - bounds_.low);
        for (int k = 0; k < kComponents; k++) {
            const int p = at_ + lane;
            const int distance = kFine * x - mixture_.origin[k][p];
            const uint32_t reach = std::min<uint32_t>(uint32_t(std::abs(distance)), mixture_.limit[k][p]);
            const uint32_t position =
                std::min<uint32_t>((reach * mixture_.power[k][p] * mixture_.mantissa[k][p]) >> 16, kMaxPosition);
            const uint32_t knot = position >> kFractionBits, fraction = position & kFractionMask;
            const uint32_t tail = tables_.tail[knot] - ((tables_.tail_delta[knot] * (fraction << 5)) >> 16);
            sum += (mixture_.weight[k][p] * (distance < 0 ? tail : 65535 - tail)) >> 16;
        }
        return uint16_t(sum);
    }

    const Tables& tables_;
    const Mixture& mixture_;
    int at_;
    Bounds bounds_;
};

#include "common.inc"
#include "adapt.inc"

}  // namespace

const Kernels kGenericKernels = {"generic", encode, decode, sample, estimate};

}  // namespace llicti
