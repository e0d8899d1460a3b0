// Compares the kernels of an instruction set with the generic ones, on random models, pixels, bounds and adaptations,
// and times them, as checkasm does. compare_kernels SET [TRIALS]: exit status 0 where all agree, 77 where the processor
// lacks the set. Built by CMakeLists.txt.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "dispatch.hpp"
#include "kernels/kernels.hpp"

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
    std::vector<int32_t> bias((first ? kLevels : 1) * rows), multiplier(rows);
    for (int8_t& w : weight) {
        w = int8_t(extreme ? (one_in(2) ? -largest : std::min(largest, 127))
                           : random_int(-largest, std::min(largest, 127)));
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
        const double wanted =
            (last ? 4096 * 640.0 : 16384 * 64.0) / (40 * std::sqrt(squares)) * std::exp2(random_int(-3, 3));
        multiplier[row] = int32_t(std::max(1.0, std::min(most, wanted)));
    }
    return Layer(in, out, first ? kLevels : 1, weight.data(), bias.data(), multiplier.data());
}

std::unique_ptr<Model> random_model() {
    auto model = std::make_unique<Model>();
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
            adaptation_.gain[i] = random_int(0, 127);
            adaptation_.bias[i] = (i < kOutputs ? random_int(0, 87) : random_int(-40, 40)) * 1024;
        }
        const Layer& layer = last_hidden(model_->bands[0]);
        context_.level = random_int(0, kLevels - 1);
        const int32_t* biases = layer.biases(context_.level);
        adaptation_.hidden_bias.assign(biases, biases + layer.rows());
        for (int o = 0; o < layer.out; o++) adaptation_.hidden_bias[o] += random_int(-500, 500);
        context_.model = model_.get();
        context_.band = &model_->bands[0];
        context_.adaptation = &adaptation_;
        context_.channels = one_in(4) ? 1 : 3;
        context_.width = width_;
        context_.target_stride = width_;
        const bool extreme = one_in(3);
        for (int c = 0; c < 3; c++) {
            const int low = c ? -255 : -128, high = c ? 255 : 127;
            const int first = one_in(2) ? low : random_int(low, high);
            Bounds& bounds = context_.bounds[c] = {first, one_in(2)   ? high
                                                          : one_in(4) ? first
                                                                      : random_int(first, high)};
            const int noise = random_int(0, 20), slope = random_int(-8, 8);
            const auto value = [&](int i) {
                if (extreme) return one_in(2) ? bounds.low : bounds.high;
                const int middle = (bounds.low + bounds.high) / 2 + i % stride() * slope;
                return std::min(std::max(middle + random_int(-noise, noise), bounds.low), bounds.high);
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
        return int(
            std::count_if(context_.bounds, context_.bounds + context_.channels, [](Bounds b) { return b.coded(); }));
    }

private:
    int stride() const { return width_ + 2 * kMargin; }

    std::unique_ptr<Model> model_;
    BandAdaptation adaptation_;
    int width_, height_;
    std::vector<int16_t> known_[3], target_[3];
    BandContext context_{};
};

// A stream of intervals: the lanes' first states and the words, as bytes.
struct Stream {
    uint32_t state[kLanes];
    std::vector<uint8_t> bytes;

    explicit Stream(const std::vector<uint32_t>& intervals) {
        std::fill(state, state + kLanes, uint32_t(kStateMin));
        for (size_t i = intervals.size(); i-- > 0;) {
            const uint32_t cdf_low = intervals[i] & 0xFFFF, frequency = intervals[i] >> 16;
            if (!frequency) continue;
            uint32_t& x = state[i % kLanes];
            if (x >> 16 >= frequency) {
                bytes.push_back(uint8_t(x >> 8));
                bytes.push_back(uint8_t(x));
                x >>= 16;
            }
            x = (x / frequency << 16) + x % frequency + cdf_low;
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
        const size_t batches = size_t(stop - start + kLanes - 1) / kLanes;
        std::vector<uint32_t> intervals(batches * kLanes * size_t(picture_.coded_channels()));
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
            if (state != uint32_t(kStateMin)) return false;
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
        Parameters at;
        Gradient gradients[2];
        for (int o = 0; o < kParameters; o++) {
            at.gain[o] = float(random_int(32, 96)) / 64;
            at.bias[o] = float(random_int(-10, 10));
        }
        if (one_in(2)) {
            at.hidden_bias_delta.resize(size_t(layer.width));
            for (float& bias : at.hidden_bias_delta) bias = float(random_int(-10, 10));
        }
        double bits[2];
        for (int i = 0; i < 2; i++) {
            const Kernels& kernels = i ? kernels_ : kGenericKernels;
            const auto estimate = [&](Gradient* gradient) {
                return kernels.estimate(expected.get(), 1, layer, context.bounds, context.channels, at, gradient);
            };
            bits[i] = estimate(nullptr);
            estimate(&gradients[i]);
        }
        if (!near(bits[1], bits[0], bits[0])) return "estimate, bits";
        if (!near(gradients[1].gain, gradients[0].gain) || !near(gradients[1].bias, gradients[0].bias) ||
            !near(gradients[1].hidden_bias_delta, gradients[0].hidden_bias_delta)) {
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

// A picture of ordinary pixels is what times are of: pixels of all its channels, a chunk or a few at a time.
class Timing {
public:
    Timing(const char* kernel, const Kernels& kernels) : kernel_(kernel), name_(kernels.name) {}

    // Prints nanoseconds a pixel that `code`, of `pixels` pixels, takes; the fastest of many runs counts.
    template <class Code>
    void report(int pixels, Code code) const {
        double best = 1e9;
        for (int i = 0; i < kRepeats; i++) {
            const auto start = std::chrono::steady_clock::now();
            code();
            best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        }
        std::printf("%-8s %-8s %8.1f ns a pixel\n", name_, kernel_, best * 1e9 / pixels);
    }

private:
    static constexpr int kRepeats = 20;
    const char *kernel_, *name_;
};

void time_kernels(const Kernels& kernels) {
    random_bits.seed(1);
    std::unique_ptr<Picture> picture;
    do picture = std::make_unique<Picture>();
    while (picture->coded_channels() < 3);
    const BandContext& context = picture->context();
    const int pixels = picture->pixels() / kLanes * kLanes;
    std::vector<uint32_t> intervals(3 * size_t(pixels));
    Timing("encode", kernels).report(pixels, [&] { kernels.encode(context, 0, pixels, intervals.data()); });
    const Stream stream(intervals);
    Timing("decode", kernels).report(pixels, [&] {
        StreamDecoder decoder;
        std::copy_n(stream.state, kLanes, decoder.state);
        decoder.words = stream.bytes.data();
        decoder.end = decoder.words + stream.bytes.size();
        if (!kernels.decode(context, 0, pixels, decoder)) std::puts("the words ran out");  // to the same pixels
    });
    const int64_t starts[kChunk / kSampleRun] = {};
    SampleChunk samples{};
    Timing("sample", kernels).report(kChunk, [&] { kernels.sample(context, starts, true, samples); });
    const OutputLayer layer(context.band->layers.back());
    Parameters at;
    at.gain.fill(1);
    at.hidden_bias_delta.resize(size_t(layer.width));
    Gradient gradient;
    Timing("estimate", kernels).report(kChunk, [&] {
        kernels.estimate(&samples, 1, layer, context.bounds, context.channels, at, &gradient);
    });
}

const Kernels* find(const char* name) {
    for (const Kernels* kernels : supported_kernels()) {
        if (!std::strcmp(kernels->name, name)) return kernels;
    }
    return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
    constexpr int kSkipped = 77;
    if (argc < 2) {
        std::puts("compare_kernels SET [TRIALS]");
        return 2;
    }
    const Kernels* kernels = find(argv[1]);
    if (!kernels) {
        std::printf("%s: this processor or build lacks it\n", argv[1]);
        return kSkipped;
    }
    const int trials = argc > 2 ? std::atoi(argv[2]) : 1000;
    int differ = 0;
    for (int trial = 0; trial < trials; trial++) {
        random_bits.seed(unsigned(trial));
        const std::string problem = Comparison(*kernels).run();
        if (problem.empty()) continue;
        if (!differ++) std::printf("%s: trial %d differs: %s\n", kernels->name, trial, problem.c_str());
    }
    std::printf("%s: %d trials, %d differ\n", kernels->name, trials, differ);
    time_kernels(*kernels);
    return differ ? 1 : 0;
}
