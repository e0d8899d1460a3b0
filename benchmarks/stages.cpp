// Times the stages of coding a band, for one instruction set, on made-up pixels and weights. Built by
// tests/native/CMakeLists.txt; to run it: stages_avx2 [width of the hidden layers] [their number]
#include LLICTI_KERNELS

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>

#ifdef __AMX_INT8__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

using namespace llicti;

constexpr int kSide = 64;      // pixels a side of the band
constexpr int kMargin = 8;     // and around it
constexpr int kRepeats = 300;  // the fastest of which counts

std::mt19937 random_bits(1);

int random_int(int low, int high) { return low + int(random_bits() % uint32_t(high - low + 1)); }

Layer random_layer(int in, int out, int levels) {
    const size_t rows = size_t(out);
    std::vector<int8_t> weight(rows * in);
    std::vector<int32_t> bias(levels * rows), multiplier(rows);
    for (int8_t& w : weight) w = int8_t(random_int(-60, 60));
    for (int32_t& b : bias) b = random_int(-5000, 5000);
    for (int32_t& m : multiplier) m = random_int(40, 200);
    return Layer(in, out, levels, weight.data(), bias.data(), multiplier.data());
}

// Band 10, which has the most neighbours.
Model random_model(int width, int depth) {
    Model model;
    Band& band = model.bands[0];
    for (int n = 0; n < 40; n++) band.neighbours.push_back({0, n / 7 - 3, n % 7 - 3});
    band.nearest = {17, 23, 25, 31};
    const int inputs = 3 * int(band.neighbours.size()) + 3;
    for (int l = 0; l <= depth; l++) {
        band.layers.push_back(random_layer(l ? width : inputs, l < depth ? width : kParameters, l ? 1 : kLevels));
    }
    return model;
}

// A band all of whose neighbours are in one plane of noise on a gradient.
class Picture {
public:
    Picture(const Model& model, const BandAdaptation& adaptation) : values_(3 * size_t(kStride) * kStride) {
        for (size_t i = 0; i < values_.size(); i++)
            values_[i] = int16_t(int(i % kStride) / 4 - 32 + random_int(-20, 20));
        context_.model = &model;
        context_.band = &model.bands[0];
        context_.adaptation = &adaptation;
        context_.level = 0;
        context_.channels = 3;
        context_.width = kSide;
        context_.target_stride = kStride;
        for (int c = 0; c < 3; c++) {
            context_.bounds[c] = c ? Bounds{-200, 200} : Bounds{-128, 127};
            context_.target[c] = origin(c);
            for (int n = 0; n < 40; n++) {
                const Neighbour& at = model.bands[0].neighbours[n];
                context_.sources[n].stride = kStride;
                context_.sources[n].origin[c] = origin(c) + at.dy * kStride + at.dx;
            }
        }
    }

    const BandContext& context() const { return context_; }

private:
    static constexpr int kStride = kSide + 2 * kMargin;
    int16_t* origin(int c) { return &values_[(size_t(c) * kStride + kMargin) * kStride + kMargin]; }

    std::vector<int16_t> values_;
    BandContext context_{};
};

// Nanoseconds a pixel of the band that `code` takes for all of it.
template <class Code>
double time_band(Code code) {
    double best = 1e9;
    for (int i = 0; i < kRepeats; i++) {
        const auto start = std::chrono::steady_clock::now();
        code();
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best * 1e9 / (kSide * kSide);
}

// The same for code of one chunk, run as often as the band has chunks.
template <class Code>
double time_chunks(Code code) {
    return time_band([&] {
        for (int64_t first = 0; first < kSide * kSide; first += kChunk) code(first);
    });
}

void report(const char* stage, double time) { std::printf("%-28s %7.1f ns a pixel\n", stage, time); }

}  // namespace

int main(int argc, char** argv) {
#ifdef __AMX_INT8__
    if (syscall(SYS_arch_prctl, 0x1023, 18)) return 1;  // see dispatch.cpp
    const AmxTiles tiles;
#endif
    const Model model = random_model(argc > 1 ? std::atoi(argv[1]) : 192, argc > 2 ? std::atoi(argv[2]) : 3);
    BandAdaptation adaptation;
    adaptation.gain.fill(1 << kGainShift);
    adaptation.bias.fill(0);
    adaptation.hidden_bias = last_hidden(model.bands[0]).bias;
    Picture picture(model, adaptation);
    const BandContext& context = picture.context();
    Chunk& chunk = thread_chunk();
    predict(context, 0, kChunk, chunk);
    report("gather", time_chunks([&](int64_t first) { gather(context, first, kChunk, 0, chunk); }));
    report("inputs", time_chunks([&](int64_t) { arrange_inputs(context, chunk); }));
    report("inputs, network", time_chunks([&](int64_t) { run_network(context, chunk); }));
    report("adaptation, mixture", time_chunks([&](int64_t) {
               adapt_outputs(adaptation, chunk);
               for (int c = 0; c < 3; c++) prepare_mixture(context, c, chunk);
               clamp_coefficients(chunk);
           }));
    report("all that predicts", time_chunks([&](int64_t first) { predict(context, first, kChunk, chunk); }));
    std::vector<uint32_t> intervals(3 * kSide * kSide);
    report("predict, intervals", time_band([&] { encode(context, 0, kSide * kSide, intervals.data()); }));
    std::vector<uint8_t> words(8 * kSide * kSide);
    for (uint8_t& word : words) word = uint8_t(random_bits());
    report("predict, search, rANS", time_band([&] {
               StreamDecoder decoder;
               for (uint32_t& state : decoder.state) state = kStateMin + (random_bits() >> 1);
               decoder.words = words.data();
               decoder.end = words.data() + words.size();
               if (!decode(context, 0, kSide * kSide, decoder)) std::puts("the words ran out");
           }));
}
