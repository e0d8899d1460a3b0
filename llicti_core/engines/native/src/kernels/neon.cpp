// Kernels for AArch64: three instructions for 16 multiply-accumulates, or one where the compiler may use dot products:
// here if its target always has them (Apple's), and in dotprod.cpp.
#include <arm_neon.h>

#include "scalar.hpp"

namespace llicti {
namespace {

using Activation = int8_t;  // [quad][pixel][4]

void arrange(const int8_t (*input)[kChunk], int quads, Activation* x) {
    for (int q = 0; q < quads; q++, input += 4) {
        for (int p = 0; p < kChunk; p += 16, x += 64) {
            const int8x16x4_t rows = {
                {vld1q_s8(&input[0][p]), vld1q_s8(&input[1][p]), vld1q_s8(&input[2][p]), vld1q_s8(&input[3][p])}};
            vst4q_s8(x, rows);
        }
    }
}

// Four outputs over 16 pixels: accumulators by output, then by register.
struct Block {
    int32x4_t total[4][4];

    template <bool first>
    void add(const Layer& layer, const int8_t* weight, const Activation* x) {
        for (int q = 0; q < layer.quads; q++, weight += 4, x += 4 * kChunk) {
            const int8x16_t quad[4] = {vld1q_s8(x), vld1q_s8(x + 16), vld1q_s8(x + 32), vld1q_s8(x + 48)};
            for (int o = 0; o < 4; o++) {
                int32_t w;
                std::memcpy(&w, weight + o * layer.stride, sizeof(w));
                add_quads<first>(quad, w, total[o]);
            }
        }
    }

private:
#ifdef __ARM_FEATURE_DOTPROD
    template <bool first>
    static void add_quads(const int8x16_t (&quad)[4], int32_t weights, int32x4_t (&sum)[4]) {
        const int8x16_t w = vreinterpretq_s8_s32(vdupq_n_s32(weights));
        for (int v = 0; v < 4; v++) sum[v] = vdotq_s32(sum[v], quad[v], w);
    }
#else
    template <bool first>
    static void add_quads(const int8x16_t (&quad)[4], int32_t weights, int32x4_t (&sum)[4]) {
        const int8x16_t w01 = vreinterpretq_s8_s16(vdupq_n_s16(int16_t(weights)));
        const int8x16_t w23 = vreinterpretq_s8_s16(vdupq_n_s16(int16_t(weights >> 16)));
        for (int v = 0; v < 4; v += 2) {  // the first and the last two inputs of eight pixels
            const int16x8_t low = vreinterpretq_s16_s8(quad[v]), high = vreinterpretq_s16_s8(quad[v + 1]);
            const int8x16_t x01 = vreinterpretq_s8_s16(vuzp1q_s16(low, high));
            const int8x16_t x23 = vreinterpretq_s8_s16(vuzp2q_s16(low, high));
            const int16x8_t a = vmull_s8(vget_low_s8(x01), vget_low_s8(w01)), b = vmull_high_s8(x01, w01);
            if (first) {  // twice -128 * -128 does not fit in 16 bits
                sum[v] = vpadalq_s16(vpadalq_s16(sum[v], a), vmull_s8(vget_low_s8(x23), vget_low_s8(w23)));
                sum[v + 1] = vpadalq_s16(vpadalq_s16(sum[v + 1], b), vmull_high_s8(x23, w23));
            } else {  // twice 127 * -128 does
                sum[v] = vpadalq_s16(sum[v], vmlal_s8(a, vget_low_s8(x23), vget_low_s8(w23)));
                sum[v + 1] = vpadalq_s16(sum[v + 1], vmlal_high_s8(b, x23, w23));
            }
        }
    }
#endif
};

// Calls visit(output, pixel, block) for the accumulators of every block, times their multipliers.
template <class Visit>
inline void for_each_block(const Layer& layer, int first, int last, const int32_t* biases, const Activation* x,
                           Visit visit) {
    for (int output = first; output < last; output += 4) {
        const int32_t* bias = biases + output;
        const int32_t* multiplier = layer.multipliers(output);
        const int8_t* weight = layer.weights(output);
        for (int p = 0; p < kChunk; p += 16) {
            Block block;
            for (int o = 0; o < 4; o++) {
                for (int32x4_t& total : block.total[o]) total = vdupq_n_s32(bias[o]);
            }
            if (layer.first)
                block.add<true>(layer, weight, x + 4 * p);
            else
                block.add<false>(layer, weight, x + 4 * p);
            for (int o = 0; o < 4; o++) {
                for (int32x4_t& total : block.total[o]) total = vmulq_n_s32(total, multiplier[o]);
            }
            visit(output, p, block);
        }
    }
}

// Sixteen accumulators times multiplier to activations.
inline int8x16_t requantise(const int32x4_t (&scaled)[4]) {
    const int16x8_t low = vqrshrn_high_n_s32(vqrshrn_n_s32(scaled[0], kHiddenShift), scaled[1], kHiddenShift);
    const int16x8_t high = vqrshrn_high_n_s32(vqrshrn_n_s32(scaled[2], kHiddenShift), scaled[3], kHiddenShift);
    static_assert(kActivationMax == 127, "saturating to 8 bits clamps to kActivationMax");
    return vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), vdupq_n_s8(0));
}

void dense_hidden(const Layer& layer, const int32_t* biases, const Activation* x, Activation* y) {
    for_each_block(layer, 0, 16 * layer.row_blocks, biases, x, [&](int output, int p, const Block& block) {
        const int8x16x4_t rows = {{requantise(block.total[0]), requantise(block.total[1]), requantise(block.total[2]),
                                   requantise(block.total[3])}};
        vst4q_s8(y + output * kChunk + 4 * p, rows);
    });
}

void dense_output(const Layer& layer, int first, const int32_t* biases, const Activation* x, int32_t (*y)[kChunk]) {
    for_each_block(layer, first, first + 16, biases, x, [&](int output, int p, const Block& block) {
        for (int o = 0; o < 4; o++) {
            for (int v = 0; v < 4; v++)
                vst1q_s32(&y[output - first + o][p + 4 * v], vrshrq_n_s32(block.total[o][v], kOutputShift));
        }
    });
}

// Sixteen lanes of 16 bits.
struct Lanes {
    uint16x8_t part[2];
};

inline int16x8_t as_signed(uint16x8_t x) { return vreinterpretq_s16_u16(x); }
inline uint16x8_t all(int value) { return vdupq_n_u16(uint16_t(value)); }

inline uint16x8_t high_product(uint16x8_t a, uint16x8_t b) {
    const uint32x4_t low = vmull_u16(vget_low_u16(a), vget_low_u16(b)), high = vmull_high_u16(a, b);
    return vuzp2q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
}

// A table of kKnots entries, 64, in registers: the low bytes, then the high ones.
class Table {
public:
    explicit Table(const std::array<uint16_t, kKnots>& entries) {
        const auto* bytes = reinterpret_cast<const uint8_t*>(entries.data());
        for (int i = 0; i < 4; i++) {
            const uint8x16x2_t split = vld2q_u8(bytes + 32 * i);
            low_.val[i] = split.val[0];
            high_.val[i] = split.val[1];
        }
    }

    Lanes operator[](uint8x16_t index) const {
        const uint8x16_t low = vqtbl4q_u8(low_, index), high = vqtbl4q_u8(high_, index);
        return {{vreinterpretq_u16_u8(vzip1q_u8(low, high)), vreinterpretq_u16_u8(vzip2q_u8(low, high))}};
    }

private:
    uint8x16x4_t low_, high_;
};

// The distribution of one channel for the lane batch at `at`.
class Cumulative {
public:
    Cumulative(const Tables& tables, const Mixture& mixture, int at, Bounds bounds)
        : tail_(tables.tail), delta_(tables.tail_delta), mixture_(mixture), at_(at), bounds_(bounds) {}

    void intervals(const int16_t* value, uint32_t* out) const {
        for (int lane = 0; lane < kLanes; lane += 16) {
            const int16x8_t x[2] = {vld1q_s16(value + lane), vld1q_s16(value + lane + 8)};
            const Lanes first = at(lane, {{vreinterpretq_u16_s16(x[0]), vreinterpretq_u16_s16(x[1])}});
            const Lanes next =
                at(lane,
                   {{vaddq_u16(vreinterpretq_u16_s16(x[0]), all(1)), vaddq_u16(vreinterpretq_u16_s16(x[1]), all(1))}});
            for (int i = 0; i < 2; i++, out += 8) {
                const uint16x8_t cdf_low = vandq_u16(vcgtq_s16(x[i], as_signed(all(bounds_.low))), first.part[i]);
                const uint16x8_t above = vandq_u16(vcltq_s16(x[i], as_signed(all(bounds_.high))), next.part[i]);
                const uint16x8_t frequency = vsubq_u16(above, cdf_low);
                vst1q_u32(out, vreinterpretq_u32_u16(vzip1q_u16(cdf_low, frequency)));
                vst1q_u32(out + 4, vreinterpretq_u32_u16(vzip2q_u16(cdf_low, frequency)));
            }
        }
    }

    bool decode(StreamDecoder& decoder, int count, int16_t* value) const {
        uint16_t cdf_low[kLanes], frequency[kLanes];
        for (int lane = 0; lane < kLanes; lane += 16) search(decoder.state, lane, value, cdf_low, frequency);
        std::fill(value + count, value + kLanes, int16_t(0));
        return advance(decoder, count, cdf_low, frequency);
    }

private:
    // The values that 16 lanes' states point at.
    void search(const uint32_t* state, int lane, int16_t* value, uint16_t* cdf_low, uint16_t* frequency) const {
        Lanes slots;
        for (int i = 0; i < 2; i++) {
            const uint32_t* from = state + lane + 8 * i;
            slots.part[i] =
                vuzp1q_u16(vreinterpretq_u16_u32(vld1q_u32(from)), vreinterpretq_u16_u32(vld1q_u32(from + 4)));
        }
        // Cumulatives of the greatest value not above the slot, and of the least above it: all 65536 but 0 here.
        Lanes found = {{all(bounds_.low), all(bounds_.low)}}, found_low = {{all(0), all(0)}}, found_high = found_low;
        int step = 1;
        while (2 * step <= bounds_.high - bounds_.low) step *= 2;
        for (; step; step /= 2) {
            const Lanes trial = {{vaddq_u16(found.part[0], all(step)), vaddq_u16(found.part[1], all(step))}};
            const Lanes inside = at(lane, trial);
            for (int i = 0; i < 2; i++) {
                const uint16x8_t impossible = vcgtq_s16(as_signed(trial.part[i]), as_signed(all(bounds_.high)));
                const uint16x8_t low = vcleq_u16(inside.part[i], slots.part[i]);
                const uint16x8_t taken = vbicq_u16(low, impossible);
                found.part[i] = vbslq_u16(taken, trial.part[i], found.part[i]);
                found_low.part[i] = vbslq_u16(taken, inside.part[i], found_low.part[i]);
                found_high.part[i] = vbslq_u16(vorrq_u16(impossible, low), found_high.part[i], inside.part[i]);
            }
        }
        for (int i = 0; i < 2; i++) {
            vst1q_s16(value + lane + 8 * i, as_signed(found.part[i]));
            vst1q_u16(cdf_low + lane + 8 * i, found_low.part[i]);
            vst1q_u16(frequency + lane + 8 * i, vsubq_u16(found_high.part[i], found_low.part[i]));
        }
    }

    // Probability, of 65536, that the values of 16 lanes are below x; for x inside the bounds.
    Lanes at(int lane, const Lanes& x) const {
        Lanes sum = {{vsubq_u16(x.part[0], all(bounds_.low)), vsubq_u16(x.part[1], all(bounds_.low))}};
        for (int k = 0; k < kComponents; k++) {
            Lanes position, upper;
            for (int i = 0; i < 2; i++) {
                const int p = at_ + lane + 8 * i;
                const int16x8_t sixteenths = as_signed(vshlq_n_u16(x.part[i], kFineShift));
                const int16x8_t distance = vsubq_s16(sixteenths, vld1q_s16(&mixture_.origin[k][p]));
                uint16x8_t reach =
                    vminq_u16(vreinterpretq_u16_s16(vabsq_s16(distance)), vld1q_u16(&mixture_.limit[k][p]));
                reach = vmulq_u16(reach, vld1q_u16(&mixture_.power[k][p]));
                position.part[i] =
                    vminq_u16(high_product(reach, vld1q_u16(&mixture_.mantissa[k][p])), all(kMaxPosition));
                upper.part[i] = vcgezq_s16(distance);
            }
            const Lanes below = tail(position);
            for (int i = 0; i < 2; i++) {
                const uint16x8_t part = veorq_u16(below.part[i], upper.part[i]);  // 65535 - below where upper
                const uint16x8_t weight = vld1q_u16(&mixture_.weight[k][at_ + lane + 8 * i]);
                sum.part[i] = vaddq_u16(sum.part[i], high_product(part, weight));
            }
        }
        return sum;
    }

    // The table of tails, interpolated, at positions of 13 bits.
    Lanes tail(const Lanes& position) const {
        const uint8x16_t knot =
            vshrn_high_n_u16(vshrn_n_u16(position.part[0], kFractionBits), position.part[1], kFractionBits);
        Lanes tails = tail_[knot], deltas = delta_[knot];
        for (int i = 0; i < 2; i++) {
            const uint16x8_t fraction = vshlq_n_u16(vandq_u16(position.part[i], all(kFractionMask)), 5);
            tails.part[i] = vsubq_u16(tails.part[i], high_product(deltas.part[i], fraction));
        }
        return tails;
    }

    Table tail_, delta_;
    const Mixture& mixture_;
    int at_;
    Bounds bounds_;
};

#include "common.inc"
#include "adapt.inc"

}  // namespace

#ifdef LLICTI_DOTPROD
const Kernels kDotprodKernels = {"dotprod", encode, decode, sample, estimate};
#else
const Kernels kNeonKernels = {"neon", encode, decode, sample, estimate};
#endif

}  // namespace llicti
