// Kernels in plain C++, for any processor.
#include "chunk.hpp"

namespace llicti {
namespace {

// Accumulators of the 4 outputs of one block over a chunk.
void accumulate(const Layer& layer, const int8_t* weight, const int32_t* bias, const uint8_t* x,
                int32_t (&total)[4][kChunk]) {
    for (int o = 0; o < 4; o++) std::fill(total[o], total[o] + kChunk, bias[o]);
    for (int q = 0; q < layer.quads; q++, weight += 16, x += 4 * kChunk) {
        for (int o = 0; o < 4; o++) {
            const int32_t w0 = weight[4 * o], w1 = weight[4 * o + 1], w2 = weight[4 * o + 2], w3 = weight[4 * o + 3];
            for (int p = 0; p < kChunk; p++) {
                total[o][p] += x[4 * p] * w0 + x[4 * p + 1] * w1 + x[4 * p + 2] * w2 + x[4 * p + 3] * w3;
            }
        }
    }
}

void dense_hidden(const Layer& layer, int group, int scale, const uint8_t* x, uint8_t* y) {
    const int8_t* weight = layer.group_weight(group);
    const int32_t* bias = layer.group_bias(scale, group);
    const int32_t* multiplier = layer.group_multiplier(group);
    for (int block = 0; block < layer.blocks; block++) {
        alignas(64) int32_t total[4][kChunk];
        accumulate(layer, weight + size_t(block) * layer.quads * 16, bias + 4 * block, x, total);
        for (int o = 0; o < 4; o++) {
            for (int p = 0; p < kChunk; p++) {
                const int32_t scaled =
                    (total[o][p] * multiplier[4 * block + o] + (1 << (kHiddenShift - 1))) >> kHiddenShift;
                y[(block * kChunk + p) * 4 + o] = uint8_t(std::min(std::max(scaled, 0), kActivationMax));
            }
        }
    }
}

void dense_output(const Layer& layer, int group, int scale, const uint8_t* x, int32_t (*y)[kChunk]) {
    const int8_t* weight = layer.group_weight(group);
    const int32_t* bias = layer.group_bias(scale, group);
    const int32_t* multiplier = layer.group_multiplier(group);
    for (int block = 0; block < layer.blocks; block++) {
        alignas(64) int32_t total[4][kChunk];
        accumulate(layer, weight + size_t(block) * layer.quads * 16, bias + 4 * block, x, total);
        for (int o = 0; o < 4; o++) {
            for (int p = 0; p < kChunk; p++) y[4 * block + o][p] = total[o][p] * multiplier[4 * block + o];
        }
    }
}

// The distribution of one channel for the group of lanes at `at`.
class Cumulative {
public:
    Cumulative(const Tables& tables, const Mixture& mixture, int at, Range range)
        : tables_(tables), mixture_(mixture), at_(at), range_(range) {}

    void intervals(const int16_t* value, uint32_t* out) const {
        for (int lane = 0; lane < kLanes; lane++) {
            const uint32_t below = at(lane, value[lane]);
            out[lane] = below | uint32_t(uint16_t(at(lane, value[lane] + 1) - below)) << 16;
        }
    }

    bool decode(StreamDecoder& decoder, int count, int16_t* value) const {
        uint16_t below[kLanes], frequency[kLanes];
        int first_step = 1;
        while (2 * first_step <= range_.high - range_.low) first_step *= 2;
        for (int lane = 0; lane < count; lane++) {
            const uint32_t slot = decoder.state[lane] & 0xFFFF;
            int found = range_.low;
            for (int step = first_step; step; step /= 2) {
                if (found + step <= range_.high && at(lane, found + step) <= slot) found += step;
            }
            value[lane] = int16_t(found);
            below[lane] = at(lane, found);
            frequency[lane] = uint16_t(at(lane, found + 1) - below[lane]);
        }
        std::fill(value + count, value + kLanes, int16_t(0));
        return advance(decoder, count, below, frequency);
    }

private:
    // Probability, of 65536 and modulo it, that the value is below x.
    uint16_t at(int lane, int x) const {
        if (x <= range_.low || x > range_.high) return 0;
        uint32_t sum = uint32_t(x - range_.low);
        for (int k = 0; k < kComponents; k++) {
            const int p = at_ + lane;
            const int distance = 16 * x - mixture_.origin[k][p];
            const uint32_t reach = std::min<uint32_t>(uint32_t(std::abs(distance)), mixture_.limit[k][p]);
            const uint32_t position =
                std::min<uint32_t>((reach * mixture_.power[k][p] * mixture_.mantissa[k][p]) >> 16, 8191);
            const uint32_t knot = position >> 7, fraction = position & 127;
            const uint32_t tail = tables_.tail[knot] - ((tables_.tail_delta[knot] * (fraction << 5)) >> 16);
            sum += (mixture_.weight[k][p] * (distance < 0 ? tail : 65535 - tail)) >> 16;
        }
        return uint16_t(sum);
    }

    const Tables& tables_;
    const Mixture& mixture_;
    int at_;
    Range range_;
};

#include "kernels.inc"
#include "fit.inc"

}  // namespace

const Kernels kGenericKernels = {"generic", encode, decode, sample, estimate};

}  // namespace llicti
