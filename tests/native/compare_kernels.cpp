// Compares the kernels of every instruction set built in, where the processor has it, with the generic ones on random
// models, pixels, ranges and corrections. To build and run it for AArch64, emulated, and for x86-64, each in one line:
//   native=llicti_core/engines/native
//   aarch64-linux-gnu-g++ -std=c++17 -O3 -c -march=armv8.2-a+dotprod -DLLICTI_HAVE_DOTPROD
//       $native/isa_dotprod.cpp -o /tmp/dotprod.o &&
//       aarch64-linux-gnu-g++ -std=c++17 -O3 -static -DLLICTI_HAVE_NEON -DLLICTI_HAVE_DOTPROD -I$native
//       tests/native/compare_kernels.cpp $native/{model,processor,isa_generic,isa_neon}.cpp /tmp/dotprod.o -o /tmp/compare &&
//       qemu-aarch64 /tmp/compare
//   g++ -std=c++17 -O3 -march=native -DLLICTI_HAVE_AVX2 -DLLICTI_HAVE_AVX512 -DLLICTI_HAVE_AMX -I$native
//       tests/native/compare_kernels.cpp $native/{model,processor,isa_generic,isa_avx2,isa_avx512,isa_amx}.cpp
//       -o /tmp/compare && /tmp/compare
// Debian and Ubuntu have the first compiler and the emulator in g++-aarch64-linux-gnu and qemu-user. An argument sets the
// number of trials.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "kernels.hpp"
#include "processor.hpp"

namespace {

using namespace llicti;

constexpr int kMargin = 4;

std::mt19937 random_bits;

int random_int(int low, int high) { return low + int(random_bits() % uint32_t(high - low + 1)); }
bool one_in(int n) { return random_int(1, n) == 1; }

// Weights of small and of extreme values; multipliers that spread the outputs, within the format's bound.
Layer random_layer(int in, int out, bool first, bool last) {
    const int largest = one_in(2) ? 128 : random_int(1, 127);
    const bool extreme = one_in(3);
    const size_t rows = size_t(out);
    std::vector<int8_t> weight(rows * in);
    std::vector<int32_t> bias((first ? kScales : 1) * rows), multiplier(rows);
    for (int8_t& w : weight) {
        w = int8_t(extreme ? (one_in(2) ? -largest : std::min(largest, 127)) : random_int(-largest, std::min(largest, 127)));
    }
    for (int32_t& b : bias) b = random_int(-5000, 5000);
    for (size_t row = 0; row < multiplier.size(); row++) {
        double sum = 0, squares = 1;
        for (int k = 0; k < in; k++) {
            const double w = weight[row * in + k];
            sum += std::abs(w);
            squares += w * w;
        }
        const double most = (2147483648.0 - 16385) / (128 * sum + 5000);
        const double wanted = (last ? 4096 * 640.0 : 16384 * 64.0) / (40 * std::sqrt(squares)) * std::exp2(random_int(-3, 3));
        multiplier[row] = int32_t(std::max(1.0, std::min(most, wanted)));
    }
    return Layer(in, out, first ? kScales : 1, weight.data(), bias.data(), multiplier.data());
}

std::unique_ptr<Model> random_model() {
    auto model = std::make_unique<Model>();
    Tables& tables = model->tables;
    const auto tail = [](int j) { return j == 64 ? 0 : std::min(int(65536 / (1 + std::exp(j / 8.0))), 32767); };
    for (int j = 0; j < 64; j++) {
        tables.tail[j] = uint16_t(tail(j));
        tables.tail_delta[j] = uint16_t((tail(j) - tail(j + 1)) << 4);
        tables.tail_and_delta[j] = tables.tail[j] | uint32_t(tables.tail_delta[j]) << 16;
    }
    for (int r = 0; r < 8; r++) tables.mantissa[r] = uint16_t(int(4095 * std::exp2(-r / 8.0)) << 4);
    for (int t = 0; t < kWeightExp; t++) tables.weight_exp[t] = uint16_t(std::max(1.0, 2048 * std::exp(-t / 16.0)));
    for (int sum = kLeastShareSum; sum <= kMaxShareSum; sum++) tables.reciprocal.push_back(((1 << 27) - 1) / sum);
    Band& band = model->bands[0];
    const int neighbours = random_int(4, 40), depth = random_int(1, 4);
    for (int n = 0; n < neighbours; n++) {
        band.neighbours.push_back({0, random_int(-kMargin, kMargin), random_int(-kMargin, kMargin)});
    }
    for (int& nearest : band.nearest) nearest = random_int(0, neighbours - 1);
    int in = 3 * neighbours + 3;
    for (int l = 0; l <= depth; l++) {
        const int out = l < depth ? (one_in(8) ? 256 : random_int(1, 100)) : kParameters;
        band.layers.push_back(random_layer(in, out, l == 0, l == depth));
        in = out;
    }
    return model;
}

// A band of random pixels, and what predicts it: noise on gradients, or extreme values only.
class Picture {
public:
    Picture() : model_(random_model()), width_(random_int(1, 80)), height_(std::max(random_int(1, 12), 256 / width_)) {
        for (int i = 0; i < kParameters; i++) {
            correction_.gain[i] = random_int(0, 127);
            correction_.bias[i] = (i < kOutputs ? random_int(0, 87) : random_int(-40, 40)) * 1024;
        }
        const Layer& layer = model_->bands[0].layers[model_->bands[0].layers.size() - 2];
        context_.scale = random_int(0, kScales - 1);
        const int32_t* biases = layer.biases(context_.scale);
        correction_.hidden.assign(biases, biases + layer.rows());
        for (int o = 0; o < layer.out; o++) correction_.hidden[o] += random_int(-500, 500);
        context_.model = model_.get();
        context_.band = &model_->bands[0];
        context_.correction = &correction_;
        context_.channels = one_in(4) ? 1 : 3;
        context_.width = width_;
        context_.target_stride = width_;
        const bool extreme = one_in(3);
        for (int c = 0; c < 3; c++) {
            const int low = c ? -255 : -128, high = c ? 255 : 127;
            const int first = one_in(2) ? low : random_int(low, high);
            Range& range = context_.ranges[c] = {first, one_in(2) ? high : one_in(4) ? first : random_int(first, high)};
            const int noise = random_int(0, 20), slope = random_int(-8, 8);
            const auto value = [&](int i) {
                if (extreme) return one_in(2) ? range.low : range.high;
                const int middle = (range.low + range.high) / 2 + i % stride() * slope;
                return std::min(std::max(middle + random_int(-noise, noise), range.low), range.high);
            };
            known_[c].resize(size_t(stride()) * size_t(height_ + 2 * kMargin));
            target_[c].resize(size_t(pixels()));
            for (size_t i = 0; i < known_[c].size(); i++) known_[c][i] = int16_t(value(int(i)));
            for (size_t i = 0; i < target_[c].size(); i++) target_[c][i] = int16_t(value(int(i)));
            context_.target[c] = target_[c].data();
            for (size_t n = 0; n < context_.band->neighbours.size(); n++) {
                const Neighbour& at = context_.band->neighbours[n];
                context_.sources[n].stride = stride();
                context_.sources[n].origin[c] = &known_[c][size_t((kMargin + at.dy) * stride() + kMargin + at.dx)];
            }
        }
    }
    Picture(const Picture&) = delete;

    const BandContext& context() const { return context_; }
    int pixels() const { return width_ * height_; }
    int coded_channels() const {
        return int(std::count_if(context_.ranges, context_.ranges + context_.channels, [](Range r) { return r.coded(); }));
    }

private:
    int stride() const { return width_ + 2 * kMargin; }

    std::unique_ptr<Model> model_;
    Correction correction_;
    int width_, height_;
    std::vector<int16_t> known_[3], target_[3];
    BandContext context_{};
};

// A stream of intervals: the lanes' first states and the words, as bytes.
struct Stream {
    uint32_t state[kLanes];
    std::vector<uint8_t> bytes;

    explicit Stream(const std::vector<uint32_t>& intervals) {
        std::fill(state, state + kLanes, 65536u);
        for (size_t i = intervals.size(); i-- > 0;) {
            const uint32_t below = intervals[i] & 0xFFFF, frequency = intervals[i] >> 16;
            if (!frequency) continue;
            uint32_t& x = state[i % kLanes];
            if (x >> 16 >= frequency) {
                bytes.push_back(uint8_t(x >> 8));
                bytes.push_back(uint8_t(x));
                x >>= 16;
            }
            x = (x / frequency << 16) + x % frequency + below;
        }
        std::reverse(bytes.begin(), bytes.end());
    }
};

class Comparison {
public:
    explicit Comparison(const Kernels& kernels) : kernels_(kernels) {}

    // What differs, or an empty string.
    std::string run() {
        const int start = random_int(0, picture_.pixels() / 2), stop = random_int(start + 1, picture_.pixels());
        const std::vector<uint32_t> intervals = encode(kGenericKernels, start, stop);
        if (encode(kernels_, start, stop) != intervals) return "encode";
        if (!decodes(Stream(intervals), start, stop)) return "decode";
        return sampled();
    }

private:
    std::vector<uint32_t> encode(const Kernels& kernels, int start, int stop) const {
        const size_t groups = size_t(stop - start + kLanes - 1) / kLanes;
        std::vector<uint32_t> intervals(groups * kLanes * size_t(picture_.coded_channels()));
        const uint32_t* end = kernels.encode(picture_.context(), start, stop, intervals.data());
        if (end != intervals.data() + intervals.size()) intervals.clear();
        return intervals;
    }

    // Whether the stream gives the pixels back, ends as it should, and its first half is refused.
    bool decodes(const Stream& stream, int start, int stop) const {
        const BandContext& known = picture_.context();
        BandContext context = known;
        std::vector<int16_t> target(3 * size_t(picture_.pixels()));
        for (int c = 0; c < 3; c++) context.target[c] = &target[size_t(c * picture_.pixels())];
        StreamDecoder decoder;
        const auto decode = [&](size_t bytes) {
            std::copy_n(stream.state, kLanes, decoder.state);
            decoder.words = stream.bytes.data();
            decoder.end = decoder.words + bytes;
            return kernels_.decode(context, start, stop, decoder);
        };
        const size_t bytes = stream.bytes.size();
        if (bytes && decode(bytes / 4 * 2)) return false;
        if (!decode(bytes) || decoder.words != decoder.end) return false;
        for (uint32_t state : decoder.state) {
            if (state != 65536) return false;
        }
        for (int c = 0; c < context.channels; c++) {
            if (!std::equal(known.target[c] + start, known.target[c] + stop, context.target[c] + start)) return false;
        }
        return true;
    }

    // Samples are integers still; estimates are floats, computed in any order.
    std::string sampled() const {
        const BandContext& context = picture_.context();
        int64_t starts[kChunk / kSampleRun];
        for (int64_t& start : starts) start = random_int(0, picture_.pixels() - kSampleRun);
        auto mine = std::make_unique<SampleChunk>(), expected = std::make_unique<SampleChunk>();
        kernels_.sample(context, starts, true, *mine);
        kGenericKernels.sample(context, starts, true, *expected);
        if (mine->hidden != expected->hidden) return "sample, activations";
        if (std::memcmp(mine->output, expected->output, sizeof(mine->output))) return "sample, outputs";
        const size_t residuals = size_t(context.channels) * sizeof(mine->residual[0]);
        if (std::memcmp(mine->residual, expected->residual, residuals)) return "sample, residuals";
        const OutputLayer layer(context.band->layers.back());
        Fit fit, slopes[2];
        for (int o = 0; o < kParameters; o++) {
            fit.gain[o] = float(random_int(32, 96)) / 64;
            fit.bias[o] = float(random_int(-10, 10));
        }
        if (one_in(2)) {
            fit.hidden.resize(size_t(layer.width));
            for (float& bias : fit.hidden) bias = float(random_int(-10, 10));
        }
        double bits[2];
        for (int i = 0; i < 2; i++) {
            const Kernels& kernels = i ? kernels_ : kGenericKernels;
            const auto estimate = [&](Fit* slope) {
                return kernels.estimate(expected.get(), 1, layer, context.ranges, context.channels, fit, slope);
            };
            bits[i] = estimate(nullptr);
            estimate(&slopes[i]);
        }
        if (!near(bits[1], bits[0], bits[0])) return "estimate, bits";
        if (!near(slopes[1].gain, slopes[0].gain) || !near(slopes[1].bias, slopes[0].bias) ||
            !near(slopes[1].hidden, slopes[0].hidden)) {
            return "estimate, slopes";
        }
        return "";
    }

    static bool near(double value, double expected, double size) {
        return std::abs(value - expected) <= 1e-3 * size + 1e-3;
    }

    template <class Floats>
    static bool near(const Floats& values, const Floats& expected) {
        float most = 0;
        for (float x : expected) most = std::max(most, std::abs(x));
        return std::equal(values.begin(), values.end(), expected.begin(), expected.end(),
                          [&](float x, float y) { return near(x, y, most); });
    }

    const Kernels& kernels_;
    Picture picture_;
};

}  // namespace

int main(int argc, char** argv) {
    const int trials = argc > 1 ? std::atoi(argv[1]) : 200;
    bool failed = false;
    for (const Kernels* kernels : supported_kernels()) {
        int differ = 0;
        for (int trial = 0; trial < trials; trial++) {
            random_bits.seed(unsigned(trial));
            const std::string problem = Comparison(*kernels).run();
            if (problem.empty()) continue;
            if (!differ++) std::printf("%s: trial %d differs: %s\n", kernels->name, trial, problem.c_str());
        }
        std::printf("%s: %d trials, %d differ\n", kernels->name, trials, differ);
        failed = failed || differ;
    }
    return failed;
}
