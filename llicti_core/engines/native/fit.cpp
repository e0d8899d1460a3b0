// Fitting corrections to an image: gradient descent on a sample of its pixels, then rounding.
#include "fit.hpp"

#include <algorithm>
#include <cmath>

namespace llicti {
namespace {

constexpr int kMaxTiles = 4;                     // of a large image, that samples are taken from
constexpr int kRuns = kChunk / kSampleRun;
constexpr int kLeastPixels = 4096;               // of a band, for it to be worth a fit
constexpr float kGainUnit = 1.0f / 64, kBiasUnit = 0.5f;
constexpr double kStoredBits = 7.0;              // about what a stored number costs, compressed

// How far a bias is moved by a first step, by group: in units of the parameter.
constexpr float kBiasStep[kGroups] = {0.4f, 0.8f, 0.8f, 0.8f};
constexpr float kGainStep = 0.015f;

struct PyramidTile {
    std::vector<Scale> scales;
    std::vector<Range> ranges;
};

using Values = std::array<float, kParameters>;

struct Affine {
    Values gain, bias;
};

// A sample of one band of one scale: chunks to fit to, and chunks to judge by.
struct Samples {
    std::vector<SampleChunk> fitted, judged;
    int64_t pixels;  // of the whole band, in the tiles looked at
};

Samples draw_samples(std::vector<PyramidTile>& tiles, const Model& model, const Corrections& none, const Kernels& kernels,
                     int scale, const Band& band, int count) {
    Samples samples{};
    std::vector<PyramidTile*> used;
    for (PyramidTile& tile : tiles) {
        const int64_t pixels = band_pixels(tile.scales[scale], band);
        samples.pixels += pixels;
        if (pixels >= kLeastPixels / kMaxTiles) used.push_back(&tile);
    }
    if (samples.pixels < kLeastPixels || used.empty()) return samples;
    const int chunks = int(std::min<int64_t>(count, samples.pixels / 2)) / kChunk;
    const int total = chunks + chunks / 2;
    samples.fitted.reserve(chunks + 1);
    samples.judged.reserve(chunks / 2 + 1);
    for (int n = 0; n < total; n++) {
        // Chunks take tiles in turn and spread over all of theirs; each third one judges.
        PyramidTile& tile = *used[n % used.size()];
        const int64_t last = band_pixels(tile.scales[scale], band) - kSampleRun;
        int64_t starts[kRuns];
        for (int run = 0; run < kRuns; run++) {
            starts[run] = last * (int64_t(run) * total + n) / (int64_t(kRuns) * total);
        }
        std::vector<SampleChunk>& to = n % 3 == 2 ? samples.judged : samples.fitted;
        to.emplace_back();
        kernels.sample(band_context(model, none, band, scale, tile.scales[scale], tile.ranges), starts, to.back());
    }
    return samples;
}

// Adam on gains and biases, over one batch of the sample after the other; step sizes fall to zero over the second half.
Affine descend(const Samples& samples, const Kernels& kernels, const std::vector<Range>& ranges, const FitPlan& plan) {
    Affine at, first_moment{}, second_moment{};
    at.gain.fill(1);
    at.bias.fill(0);
    float mean_share = 1, square_share = 1;  // of the moments that is still their start, zero
    const auto step = [&](float& value, float& m, float& v, float slope, float rate) {
        m += 0.1f * (slope - m);
        v += 0.01f * (slope * slope - v);
        const float mean = m / (1 - mean_share), square = v / (1 - square_share);
        value -= rate * mean / (std::sqrt(square) + 1e-12f);
    };
    const int chunks = int(samples.fitted.size()), batch = std::min(chunks, plan.batch / kChunk);
    for (int t = 1, next = 0; t <= plan.steps; t++, next += batch) {
        if (next + batch > chunks) next = 0;
        Affine slope{};
        kernels.estimate(&samples.fitted[next], batch, ranges.data(), int(ranges.size()), at.gain.data(), at.bias.data(),
                         slope.gain.data(), slope.bias.data());
        const float rate = std::min(1.0f, 2.0f * (1.0f - float(t - 1) / float(plan.steps)));
        mean_share *= 0.9f;
        square_share *= 0.99f;
        for (int o = 0; o < kParameters; o++) {
            step(at.gain[o], first_moment.gain[o], second_moment.gain[o], slope.gain[o], rate * kGainStep);
            step(at.bias[o], first_moment.bias[o], second_moment.bias[o], slope.bias[o],
                 rate * kBiasStep[o / kOutputs]);
        }
    }
    return at;
}

int8_t rounded(float value, float unit, int low, int high) {
    return int8_t(std::min(std::max(int(std::lround(value / unit)), low), high));
}

// What the judging sample says that `stored` corrections save, in bits for the whole band.
double saving(const Samples& samples, const Kernels& kernels, const std::vector<Range>& ranges, const int8_t* stored) {
    Affine none, corrected;
    none.gain.fill(1);
    none.bias.fill(0);
    for (int o = 0; o < kParameters; o++) {
        corrected.gain[o] = 1 + kGainUnit * stored[o];
        corrected.bias[o] = kBiasUnit * stored[kParameters + o];
    }
    const auto bits = [&](const Affine& affine) {
        return kernels.estimate(samples.judged.data(), int(samples.judged.size()), ranges.data(), int(ranges.size()),
                                affine.gain.data(), affine.bias.data(), nullptr, nullptr);
    };
    return (bits(none) - bits(corrected)) * double(samples.pixels) / double(samples.judged.size() * kChunk);
}

// Corrections of one band at one scale, into `stored`; all zero where they do not pay.
void fit_band(std::vector<PyramidTile>& tiles, const Model& model, const Corrections& none, const Kernels& kernels,
              const FitPlan& plan, int scale, const Band& band, int8_t* stored) {
    const Samples samples = draw_samples(tiles, model, none, kernels, scale, band, plan.samples);
    if (samples.judged.empty()) return;
    // Ranges only decide which channels are coded and a floor: those of the first tile serve for all.
    const std::vector<Range>& ranges = tiles[0].ranges;
    const Affine fitted = descend(samples, kernels, ranges, plan);
    for (int o = 0; o < kParameters; o++) {
        stored[o] = rounded(fitted.gain[o] - 1, kGainUnit, -64, 63);
        stored[kParameters + o] = rounded(fitted.bias[o], kBiasUnit, -128, 127);
    }
    if (saving(samples, kernels, ranges, stored) < 2 * kParameters * kStoredBits) {
        std::fill(stored, stored + 2 * kParameters, int8_t(0));
    }
}

}  // namespace

std::vector<int8_t> fit_corrections(const std::vector<Pixels>& tiles, const Model& model, const Kernels& kernels,
                                    const FitPlan& plan, Team& team) {
    const int looked_at = std::min(int(tiles.size()), kMaxTiles);
    std::vector<PyramidTile> pyramids(looked_at);
    for (int i = 0; i < looked_at; i++) {
        Image image = read_pixels(tiles[size_t(i) * tiles.size() / looked_at], team);
        pyramids[i].ranges = find_ranges(image, team);
        pyramids[i].scales = build_pyramid(image, team);
    }
    std::vector<int8_t> stored(size_t(plan.scales) * kCorrectionBytes);
    const Corrections none = unpack_corrections(nullptr, 0);
    const int fits = 3 * plan.scales;
    team.run(fits, [&](int task) {
        const int i = fits - 1 - task;  // the band with the most neighbours first, so that none is left waiting for it
        fit_band(pyramids, model, none, kernels, plan, i / 3, model.bands[i % 3], &stored[size_t(i) * 2 * kParameters]);
    });
    const auto zero = [](int8_t value) { return value == 0; };
    while (!stored.empty() && std::all_of(stored.end() - kCorrectionBytes, stored.end(), zero)) {
        stored.resize(stored.size() - kCorrectionBytes);
    }
    return stored;
}

Corrections unpack_corrections(const int8_t* stored, int scales) {
    Corrections corrections;
    for (int s = 0; s < kScales; s++) {
        for (Correction& correction : corrections[s]) {
            for (int o = 0; o < kParameters; o++) {
                correction.gain[o] = (1 << kGainShift) + (s < scales ? stored[o] : 0);
                correction.bias[o] = (s < scales ? stored[kParameters + o] : 0) * (1 << (kFineShift + kGainShift - 1));
            }
            if (s < scales) stored += 2 * kParameters;
        }
    }
    return corrections;
}

}  // namespace llicti
