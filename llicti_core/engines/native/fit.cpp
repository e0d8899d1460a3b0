// Fitting corrections to an image: gradient descent on a sample of its pixels, then rounding.
#include "fit.hpp"

#include <algorithm>
#include <cmath>

namespace llicti {
namespace {

constexpr int kMaxTiles = 4;                     // of a large image, that samples are taken from
constexpr int kRuns = kChunk / kSampleRun;
constexpr int kLeastPixels = 4096;               // of a band, for it to be worth a fit
constexpr int kHiddenUnit = 2;                   // activations
constexpr double kStoredBits = 7.0;              // about what a stored number costs, compressed
constexpr double kHiddenBits = 5.0;              // and one of the hidden biases, which are more alike
constexpr int kPixelsPerHidden = 96;             // of a band, for fitting one of its hidden biases to pay

// What numbers the int8 in a file stand for: `origin` is what 0 does, `unit` the step from one to the next.
struct Form {
    float origin, unit;

    float value(int stored) const { return origin + unit * float(stored); }
    int8_t stored(float value) const { return int8_t(std::lround((value - origin) / unit)); }
    // `value`, no further out than what can be stored; in this order of arguments never NaN.
    float held(float value) const { return std::min(std::max(this->value(-128), value), this->value(127)); }
};
constexpr Form kGain = {1, 1.0f / 64}, kBias = {0, 0.5f}, kHidden = {0, kHiddenUnit};

// How far a bias is moved by a first step, by group: in units of the parameter.
constexpr float kBiasStep[kGroups] = {0.4f, 0.8f, 0.8f, 0.8f};
constexpr float kGainStep = 0.03f;
constexpr float kHiddenStep = 1.0f;  // activations

const Layer& last_hidden(const Band& band) { return band.layers[band.layers.size() - 2]; }

// Leave out scales at the end that are all zeros, `size` bytes each.
void cut_zeros(std::vector<int8_t>& stored, size_t size) {
    const auto zero = [](int8_t value) { return value == 0; };
    while (!stored.empty() && std::all_of(stored.end() - ptrdiff_t(size), stored.end(), zero)) {
        stored.resize(stored.size() - size);
    }
}

struct PyramidTile {
    std::vector<Scale> scales;
    std::vector<Range> ranges;
};

// What all fits of an image share.
struct Job {
    std::vector<PyramidTile>& tiles;
    const Model& model;
    const Corrections& none;
    const Kernels& kernels;
    const FitPlan& plan;
    // Ranges only decide which channels are coded and a floor: those of the first tile serve for all.
    const std::vector<Range>& ranges() const { return tiles[0].ranges; }
};

// A sample of one band of one scale: chunks to fit to, then chunks to judge by.
struct Samples {
    std::vector<SampleChunk> chunks;
    int fitted;       // how many chunks are fitted to
    int judged_from;  // and the first of those that judge: of a band sampled whole, all do both
    int64_t pixels;   // of the whole band, in the tiles looked at
    bool hidden;      // whether activations are sampled, and hidden biases worth a try
};

Samples draw_samples(const Job& job, int scale, const Band& band) {
    std::vector<PyramidTile>& tiles = job.tiles;
    const int64_t count = job.plan.samples;
    Samples samples{};
    std::vector<PyramidTile*> used;
    for (PyramidTile& tile : tiles) {
        const int64_t pixels = band_pixels(tile.scales[scale], band);
        samples.pixels += pixels;
        if (pixels >= kLeastPixels / kMaxTiles) used.push_back(&tile);
    }
    if (samples.pixels < kLeastPixels || used.empty()) return samples;
    samples.hidden = samples.pixels >= int64_t(kPixelsPerHidden) * last_hidden(band).out;
    // Of what is sampled two thirds are fitted to and the rest judge, so that no fit is judged by what it has learnt by
    // heart; but a band sampled whole has nothing else to learn.
    const bool whole = tiles.size() == 1 && samples.pixels <= count;
    const int total = int(whole ? samples.pixels : std::min(count + count / 2, samples.pixels)) / kChunk;
    samples.fitted = whole ? total : total - total / 3;
    samples.judged_from = whole ? 0 : samples.fitted;
    samples.chunks.resize(total);
    for (int n = 0; n < total; n++) {
        // Chunks take tiles in turn and spread over all of theirs; where some only judge, each third one.
        PyramidTile& tile = *used[n % used.size()];
        const int64_t last = band_pixels(tile.scales[scale], band) - kSampleRun;
        int64_t starts[kRuns];
        for (int run = 0; run < kRuns; run++) {
            starts[run] = last * (int64_t(run) * total + n) / (int64_t(kRuns) * total);
        }
        const int place = whole ? n : n % 3 == 2 ? samples.fitted + n / 3 : n - n / 3;
        job.kernels.sample(band_context(job.model, job.none, band, scale, tile.scales[scale], tile.ranges), starts,
                           samples.hidden, samples.chunks[place]);
    }
    return samples;
}

Fit no_fit() {
    Fit fit;
    fit.gain.fill(1);
    return fit;
}

// Adam on gains and biases, over one batch of the sample after the other; step sizes fall to zero over the second half.
// What a file cannot hold is not gone through: cut off at the end, it would cost up to a tenth of what the fit saves.
Fit descend(const Samples& samples, const Job& job, const OutputLayer& layer, bool with_hidden) {
    const FitPlan& plan = job.plan;
    const std::vector<Range>& ranges = job.ranges();
    Fit at = no_fit(), first_moment{}, second_moment{}, slope;
    const size_t hidden = with_hidden ? size_t(layer.width) : 0;
    for (Fit* fit : {&at, &first_moment, &second_moment}) fit->hidden.resize(hidden);
    float mean_share = 1, square_share = 1;  // of the moments that is still their start, zero
    const auto step = [&](float& value, float& m, float& v, float slope, float rate, const Form& form) {
        m += 0.1f * (slope - m);
        v += 0.01f * (slope * slope - v);
        const float mean = m / (1 - mean_share), square = v / (1 - square_share);
        value = form.held(value - rate * mean / (std::sqrt(square) + 1e-12f));
    };
    const int batch = std::min(samples.fitted, plan.batch / kChunk);
    for (int t = 1, next = 0; t <= plan.steps; t++, next += batch) {
        if (next + batch > samples.fitted) next = 0;
        job.kernels.estimate(&samples.chunks[next], batch, layer, ranges.data(), int(ranges.size()), at, &slope);
        const float rate = std::min(1.0f, 2.0f * (1.0f - float(t - 1) / float(plan.steps)));
        mean_share *= 0.9f;
        square_share *= 0.99f;
        for (int o = 0; o < kParameters; o++) {
            step(at.gain[o], first_moment.gain[o], second_moment.gain[o], slope.gain[o], rate * kGainStep, kGain);
            step(at.bias[o], first_moment.bias[o], second_moment.bias[o], slope.bias[o],
                 rate * kBiasStep[o / kOutputs], kBias);
        }
        for (size_t k = 0; k < hidden; k++) {
            step(at.hidden[k], first_moment.hidden[k], second_moment.hidden[k], slope.hidden[k], rate * kHiddenStep,
                 kHidden);
        }
    }
    return at;
}

// A band's corrections as the file has them: gains and biases of outputs; and by channel, without padding.
struct Stored {
    int8_t output[2 * kParameters] = {};
    std::vector<int8_t> hidden;
};

Stored round_fit(const Fit& fit, const Band& band) {
    Stored stored;
    for (int o = 0; o < kParameters; o++) {
        stored.output[o] = kGain.stored(fit.gain[o]);
        stored.output[kParameters + o] = kBias.stored(fit.bias[o]);
    }
    for (int i = 0; !fit.hidden.empty() && i < last_hidden(band).out; i++) {
        stored.hidden.push_back(kHidden.stored(fit.hidden[i]));
    }
    return stored;
}

// And back.
Fit unrounded(const Stored& stored, const Band& band) {
    Fit fit;
    for (int o = 0; o < kParameters; o++) {
        fit.gain[o] = kGain.value(stored.output[o]);
        fit.bias[o] = kBias.value(stored.output[kParameters + o]);
    }
    for (int8_t moved : stored.hidden) fit.hidden.push_back(kHidden.value(moved));
    if (!stored.hidden.empty()) fit.hidden.resize(size_t(last_hidden(band).rows()));
    return fit;
}

// What the chunks that judge say that the whole band takes with `fit`, in bits.
double estimated_bits(const Samples& samples, const Job& job, const OutputLayer& layer, const Fit& fit) {
    const std::vector<Range>& ranges = job.ranges();
    const int judged = int(samples.chunks.size()) - samples.judged_from;
    const double bits = job.kernels.estimate(&samples.chunks[samples.judged_from], judged, layer, ranges.data(),
                                             int(ranges.size()), fit, nullptr);
    return bits * double(samples.pixels) / double(judged * kChunk);
}

// Corrections of one band at one scale; none where they do not pay.
Stored fit_band(const Job& job, int scale, const Band& band) {
    const Samples samples = draw_samples(job, scale, band);
    if (samples.chunks.empty()) return {};
    const OutputLayer layer(band.layers.back());
    const double uncorrected = estimated_bits(samples, job, layer, no_fit());
    const auto fit = [&](bool hidden) { return round_fit(descend(samples, job, layer, hidden), band); };
    const auto saved = [&](const Stored& stored) {
        return uncorrected - estimated_bits(samples, job, layer, unrounded(stored, band));
    };
    Stored best = fit(samples.hidden);
    double pays = saved(best);
    if (samples.hidden) {
        Stored shallow = best;
        shallow.hidden.clear();
        if (pays - kHiddenBits * last_hidden(band).out < saved(shallow)) pays = saved(best = fit(false));
    }
    return pays < 2 * kParameters * kStoredBits ? Stored{} : best;
}

}  // namespace

StoredCorrections fit_corrections(const std::vector<Pixels>& tiles, const Model& model, const Kernels& kernels,
                                  const FitPlan& plan, Team& team) {
    const int looked_at = std::min(int(tiles.size()), kMaxTiles);
    std::vector<PyramidTile> pyramids(looked_at);
    for (int i = 0; i < looked_at; i++) {
        Image image = read_pixels(tiles[size_t(i) * tiles.size() / looked_at], team);
        pyramids[i].ranges = find_ranges(image, team);
        pyramids[i].scales = build_pyramid(image, team);
    }
    const Corrections none = unpack_corrections({}, model);
    const Job job{pyramids, model, none, kernels, plan};
    const int fits = 3 * plan.scales;
    std::vector<Stored> stored(fits);
    team.run(fits, [&](int task) {
        const int i = fits - 1 - task;  // the band with the most neighbours first, so that none is left waiting for it
        stored[i] = fit_band(job, i / 3, model.bands[i % 3]);
    });
    StoredCorrections corrections;
    for (int i = 0; i < fits; i++) {
        stored[i].hidden.resize(size_t(last_hidden(model.bands[i % 3]).out));
        corrections.outputs.insert(corrections.outputs.end(), stored[i].output, stored[i].output + 2 * kParameters);
        corrections.hidden.insert(corrections.hidden.end(), stored[i].hidden.begin(), stored[i].hidden.end());
    }
    cut_zeros(corrections.outputs, kOutputsPerScale);
    const size_t hidden_per_scale = 3 * size_t(last_hidden(model.bands[0]).out);
    cut_zeros(corrections.hidden, hidden_per_scale);
    // No scale has hidden biases alone.
    const size_t least = corrections.hidden.size() / hidden_per_scale * kOutputsPerScale;
    corrections.outputs.resize(std::max(corrections.outputs.size(), least));
    return corrections;
}

Corrections unpack_corrections(const StoredCorrections& stored, const Model& model) {
    Corrections corrections;
    size_t output = 0, hidden = 0;
    for (int i = 0; i < 3 * kScales; i++) {
        const Layer& layer = last_hidden(model.bands[i % 3]);
        Correction& correction = corrections[i / 3][i % 3];
        const bool corrected = output < stored.outputs.size();
        for (int o = 0; o < kParameters; o++) {
            correction.gain[o] = (1 << kGainShift) + (corrected ? stored.outputs[output + o] : 0);
            correction.bias[o] =
                (corrected ? stored.outputs[output + kParameters + o] : 0) * (1 << (kFineShift + kGainShift - 1));
        }
        if (corrected) output += 2 * kParameters;
        const int32_t* biases = layer.biases(i / 3);
        correction.hidden.assign(biases, biases + layer.rows());
        const bool deep = hidden < stored.hidden.size();
        for (int o = 0; deep && o < layer.out; o++) {
            const int32_t multiplier = layer.multipliers(o)[0];
            const int32_t moved = stored.hidden[hidden++] * (kHiddenUnit << kHiddenShift) + (multiplier >> 1);
            // Rounded down, also where it is negative.
            correction.hidden[o] += moved / multiplier - (moved % multiplier < 0);
        }
    }
    return corrections;
}

}  // namespace llicti
