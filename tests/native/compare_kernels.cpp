// Compares the kernels of an instruction set with the generic ones, on random models, pixels and bounds, and times
// them, as checkasm does. compare_kernels SET [TRIALS]: exit status 0 where all agree, 77 where the processor lacks the
// set. Built by CMakeLists.txt.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "adaptation.hpp"
#include "dispatch.hpp"
#include "problem.hpp"
#include "tile.hpp"

namespace {

using namespace llicti;

std::mt19937 random_bits;

int random_int(int low, int high) { return low + int(random_bits() % uint32_t(high - low + 1)); }
bool one_in(int n) { return random_int(1, n) == 1; }

// Weights of small and of extreme values, or none but 0 for the last outputs or in about half of the blocks of four
// inputs and two outputs, which kernels skip; multipliers that spread the outputs, within the format's bound.
Layer random_layer(int in, int out, bool last) {
    const int largest = one_in(2) ? 127 : random_int(1, 127);
    const bool extreme = one_in(3), blocks = one_in(2);
    const size_t rows = size_t(out);
    Layer layer{in, out, std::vector<int8_t>(rows * size_t(in)), {}, {}};
    for (int8_t& w : layer.weight)
        w = int8_t(extreme ? (one_in(2) ? -largest : largest) : random_int(-largest, largest));
    if (one_in(8)) std::fill_n(layer.weight.rbegin(), size_t(random_int(1, out)) * size_t(in), int8_t(0));
    for (int row = 0; row < out && blocks; row += 2) {
        for (int k = 0; k < in; k += 4) {
            if (one_in(2)) continue;
            for (int i = row; i < std::min(row + 2, out); i++) {
                std::fill_n(layer.weight.begin() + ptrdiff_t(i) * in + k, std::min(4, in - k), int8_t(0));
            }
        }
    }
    for (size_t i = 0; i < kBiasLevels * rows; i++) layer.bias.push_back(random_int(-5000, 5000));
    for (size_t row = 0; row < rows; row++) {
        double sum = 0, squares = 1;
        for (int k = 0; k < in; k++) {
            const double w = layer.weight[row * size_t(in) + size_t(k)];
            sum += std::abs(w);
            squares += w * w;
        }
        const double most = (2147483648.0 - 16385) / (128 * sum + 5000);
        const double wanted =
            (last ? 4096 * 640.0 : 16384 * 64.0) / (40 * std::sqrt(squares)) * std::exp2(random_int(-3, 3));
        layer.multiplier.push_back(int32_t(std::max(1.0, std::min(most, wanted))));
    }
    return layer;
}

// Neighbours anywhere around the pixel, of phases before it.
std::vector<Place> random_places(int count, int phases) {
    std::vector<Place> places;
    for (int i = 0; i < count; i++) places.push_back({random_int(0, phases - 1), random_int(-2, 2), random_int(-2, 2)});
    return places;
}

std::unique_ptr<Model> random_model() {
    auto model = std::make_unique<Model>();
    for (int b = 0; b < kBands; b++) {
        Band& band = model->bands[size_t(b)];
        band.phase = b + 1;
        band.neighbours = random_places(random_int(4, 40), band.phase);
        band.more_luma = random_places(random_int(0, 9), kPhases);
        for (int& nearest : band.nearest) nearest = random_int(0, int(band.neighbours.size()) - 1);
        for (int n = 0; n < kNetworks; n++) {
            const int known = int(band.neighbours.size());
            int in = n == kLuma ? known + 6 : 3 * known + int(band.more_luma.size()) + 13;
            Network& network = model->networks[size_t(n)][size_t(b)];
            const int depth = random_int(1, 3);
            for (int i = 0; i < depth; i++) {
                network.layers.push_back(random_layer(in, one_in(12) ? 256 : random_int(1, 80), false));
                in = network.layers.back().out;
            }
            network.layers.push_back(random_layer(in, kOutputs[n], true));
            for (int i = 0; i < kBiasLevels * kOutputs[n]; i++) {
                network.gain.push_back(int8_t(random_int(-64, 64)));
                network.shift.push_back(int8_t(random_int(-40, 80)));
            }
        }
    }
    if (!within_bounds(model->networks)) std::puts("the model is out of bounds");
    return model;
}

// Noise on gradients, extreme values only, or few colors.
struct Picture {
    Picture(int height, int width, int channels) : pixels(size_t(height) * width * channels) {
        const int kind = random_int(0, 3), noise = random_int(0, 30), slope = random_int(-3, 3);
        for (size_t i = 0; i < pixels.size(); i++) {
            const int x = int(i) / channels % width;
            const int value = kind == 0   ? (one_in(2) ? 0 : 255)
                              : kind == 1 ? 77 * (int(i) % channels == 1 && one_in(9))
                                          : 128 + x * slope + random_int(-noise, noise);
            pixels[i] = uint8_t(std::clamp(value, 0, 255));
        }
        view = {pixels.data(), ptrdiff_t(width) * channels, height, width, channels};
    }

    std::vector<uint8_t> pixels;
    Pixels view;
};

using Coded = CodedTile<std::vector<uint8_t>>;

// The part of a tile that is not coded.
Picture lowpass_of(const Picture& picture) {
    int step = 1;
    const Pixels& from = picture.view;
    while ((std::max(from.height, from.width) + step - 1) / step > kMaxLowpass) step *= 2;
    Picture low((from.height + step - 1) / step, (from.width + step - 1) / step, from.channels);
    for (size_t i = 0; i < low.pixels.size(); i++) {
        const int c = int(i) % from.channels, place = int(i) / from.channels;
        const int y = place / low.view.width * step, x = place % low.view.width * step;
        low.pixels[i] = from.data[y * from.stride + x * from.channels + c];
    }
    return low;
}

// The model, its networks as `kernels` want them, and one thread.
class Coder {
public:
    Coder(const Kernels& kernels, const Model& model)
        : interruption_([] { return false; }), pool_(1, interruption_), coder_{model, networks_, kernels} {
        for (size_t n = 0; n < kNetworks; n++) {
            for (size_t b = 0; b < kBands; b++) kernels.pack(model.networks[n][b], NetworkKind(n), networks_[n][b]);
        }
    }

    Coded encode(const Picture& picture) { return coder_.encode(picture.view, pool_); }

    // Whether `coded`, its last bytes cut off, gives the picture. Throws FormatProblem.
    bool decodes(const Picture& picture, const Coded& coded, size_t cut = 0) {
        CodedTile<Bytes> tile{coded.bounds, {}};
        for (const auto& kind : coded.segments) {
            tile.segments.emplace_back();
            for (const auto& segment : kind) tile.segments.back().push_back({segment.data(), segment.size()});
        }
        for (auto& segment : tile.segments.back()) segment.size -= std::min(segment.size, cut);
        const Picture low = lowpass_of(picture);
        const Pixels& from = picture.view;
        std::vector<uint8_t> out(picture.pixels.size());
        const Pixels to{out.data(), from.stride, from.height, from.width, from.channels};
        coder_.decode(tile, low.view, {0, 0, from.height, from.width}, 0, to, pool_);
        return out == picture.pixels;
    }

private:
    Interruption interruption_;
    ThreadPool pool_;
    PackedNetworks networks_;
    TileCoder coder_;
};

// A number in which any number of leading bits are 0, and now and then all of the others 1.
uint32_t random_scale(int bits) {
    const uint32_t value = uint32_t(random_bits()) >> (32 - random_int(1, bits));
    return one_in(4) ? ~uint32_t(0) >> (32 - random_int(1, bits)) : value;
}

// Whether entropy coding gives the same words and states: of intervals of all sizes, and of states that leave each
// remainder there is.
bool puts_on_alike(const Kernels& kernels) {
    constexpr int kSteps = 8;
    std::vector<uint32_t> intervals(size_t(kSteps) * kLanes);
    for (uint32_t& interval : intervals) {
        const uint32_t frequency = one_in(8) ? 0 : random_scale(16);
        interval = frequency << 16 | (frequency ? random_bits() % (65536 - frequency) : 0);
    }
    uint32_t lanes[kSteps], state[2][kLanes];
    for (uint32_t& step : lanes) step = one_in(2) ? ~uint32_t(0) : uint32_t(random_bits());
    for (int lane = 0; lane < kLanes; lane++) {
        const uint32_t last = intervals[intervals.size() - kLanes + size_t(lane)] >> 16;
        const uint32_t near = last * random_scale(16) + uint32_t(random_int(-1, 1));
        state[0][lane] = state[1][lane] = std::max(uint32_t(kStateMin), one_in(2) ? near : random_scale(32));
    }
    std::vector<uint8_t> words[2];
    for (size_t i = 0; i < 2; i++) {
        const Kernels& set = i ? kGenericKernels : kernels;
        std::vector<uint8_t> memory(16 + 2 * intervals.size());
        uint8_t* const end = memory.data() + memory.size();
        uint8_t* next = end;
        for (size_t step = kSteps; step-- > 0;) {
            next = set.put_on(&intervals[step * kLanes], lanes[step], state[i], next);
        }
        words[i].assign(next, end);
    }
    return words[0] == words[1] && std::equal(state[0], state[0] + kLanes, state[1]);
}

// What differs, or an empty string.
std::string compare(const Kernels& kernels) {
    for (int i = 0; i < 200; i++) {
        if (!puts_on_alike(kernels)) return "put_on";
    }
    const auto model = random_model();
    const int size = one_in(4) ? 130 : 40;
    const Picture picture(random_int(1, size), random_int(1, size), one_in(3) ? 1 : 3);
    Coder coder(kernels, *model);
    const Coded coded = Coder(kGenericKernels, *model).encode(picture);
    if (coder.encode(picture).segments != coded.segments) return "encode";
    if (!coder.decodes(picture, coded)) return "decode";
    const auto& last = coded.segments.back();
    if (std::all_of(last.begin(), last.end(), [](const auto& segment) { return segment.empty(); })) return "";
    try {
        coder.decodes(picture, coded, 2);
    } catch (const FormatProblem&) {
        return "";
    }
    return "decode, cut short";
}

template <class Code>
void time(const char* name, const char* what, size_t pixels, Code code) {
    double best = 1e9, all = 0;
    for (int i = 0; i < 10 && all < 1; i++) {
        const auto start = std::chrono::steady_clock::now();
        code();
        const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        best = std::min(best, taken);
        all += taken;
    }
    std::printf("%-8s %-8s %8.1f ns a pixel\n", name, what, best * 1e9 / double(pixels));
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
    const int trials = argc > 2 ? std::atoi(argv[2]) : 300;
    int differ = 0;
    for (int trial = 0; trial < trials; trial++) {
        random_bits.seed(unsigned(trial));
        const std::string problem = compare(*kernels);
        if (problem.empty()) continue;
        if (!differ++) std::printf("%s: trial %d differs: %s\n", kernels->name, trial, problem.c_str());
    }
    std::printf("%s: %d trials, %d differ\n", kernels->name, trials, differ);
    random_bits.seed(1);
    const auto model = random_model();
    const Picture picture(256, 384, 3);
    Coder coder(*kernels, *model);
    const Coded coded = coder.encode(picture);
    const size_t pixels = picture.pixels.size() / 3;
    time(kernels->name, "encode", pixels, [&] { coder.encode(picture); });
    time(kernels->name, "decode", pixels, [&] { coder.decodes(picture, coded); });
    return differ ? 1 : 0;
}
