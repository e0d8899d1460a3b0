// The search for the adaptation of a model to an image: gradient descent (Adam) on a sample of its pixels, then
// rounding.
#include "adapt/optimiser.hpp"

#include <algorithm>
#include <cmath>

namespace llicti {
namespace {

constexpr double kStoredBits = 7.0;  // about what a stored number costs, compressed
constexpr double kHiddenBits = 5.0;  // and one of the hidden biases, which are more alike

// From values to the int8 of a file and back: `origin` is what 0 stands for, `unit` the step from one to the next.
struct Quantiser {
    float origin, unit;

    float value(int stored) const { return origin + unit * float(stored); }
    int8_t stored(float value) const { return int8_t(std::lround((value - origin) / unit)); }
    // `value`, no further out than what can be stored; in this order of arguments never NaN.
    float held(float value) const { return std::min(std::max(this->value(-128), value), this->value(127)); }
};
constexpr Quantiser kGain = {1, 1.0f / (1 << kGainShift)}, kBias = {0, 0.5f}, kHidden = {0, kHiddenBiasUnit};

// How far a bias is moved by a first step, by kind: in units of the parameter.
constexpr float kBiasStep[kParameterKinds] = {0.4f, 0.8f, 0.8f, 0.8f};
constexpr float kGainStep = 0.03f;
constexpr float kHiddenStep = 1.0f;  // activations

// Leave out levels at the end that are all zeros, `size` bytes each.
void cut_zeros(std::vector<int8_t>& stored, size_t size) {
    const auto zero = [](int8_t value) { return value == 0; };
    while (!stored.empty() && std::all_of(stored.end() - ptrdiff_t(size), stored.end(), zero)) {
        stored.resize(stored.size() - size);
    }
}

// What the search of every band of an image shares.
struct Search {
    const SampleSource& source;
    const FitPlan& plan;

    // Bounds only decide which channels are coded and a floor: those of the first tile serve for all.
    const std::vector<Bounds>& bounds() const { return source.tiles[0].bounds; }

    double estimate(const SampleChunk* chunks, int count, const OutputLayer& layer, const Parameters& at,
                    Gradient* gradient) const {
        source.pool.check_interruption();
        return source.kernels.estimate(chunks, count, layer, bounds().data(), int(bounds().size()), at, gradient);
    }
};

Parameters not_adapted() {
    Parameters parameters;
    parameters.gain.fill(1);
    return parameters;
}

// Adam on gains and biases, over one batch of the sample after the other; step sizes fall to zero over the second half.
// What a file cannot hold is not gone through: cut off at the end, it would cost up to a tenth of what the fit saves.
Parameters descend(const Samples& samples, const Search& search, const OutputLayer& layer, bool with_hidden) {
    const FitPlan& plan = search.plan;
    Parameters at = not_adapted(), first_moment{}, second_moment{};
    Gradient gradient;
    const size_t hidden = with_hidden ? size_t(layer.width) : 0;
    for (Parameters* each : {&at, &first_moment, &second_moment}) each->hidden_bias_delta.resize(hidden);
    float mean_share = 1, square_share = 1;  // of the moments that is still their start, zero
    const auto step = [&](float& value, float& m, float& v, float slope, float rate, const Quantiser& quantiser) {
        m += 0.1f * (slope - m);
        v += 0.01f * (slope * slope - v);
        const float mean = m / (1 - mean_share), square = v / (1 - square_share);
        value = quantiser.held(value - rate * mean / (std::sqrt(square) + 1e-12f));
    };
    const int batch = std::min(samples.fitted, plan.batch / kChunk);
    for (int t = 1, next = 0; t <= plan.steps; t++, next += batch) {
        if (next + batch > samples.fitted) next = 0;
        search.estimate(&samples.chunks[next], batch, layer, at, &gradient);
        const float rate = std::min(1.0f, 2.0f * (1.0f - float(t - 1) / float(plan.steps)));
        mean_share *= 0.9f;
        square_share *= 0.99f;
        for (int o = 0; o < kParameters; o++) {
            step(at.gain[o], first_moment.gain[o], second_moment.gain[o], gradient.gain[o], rate * kGainStep, kGain);
            step(at.bias[o], first_moment.bias[o], second_moment.bias[o], gradient.bias[o],
                 rate * kBiasStep[o / kOutputs], kBias);
        }
        for (size_t k = 0; k < hidden; k++) {
            step(at.hidden_bias_delta[k], first_moment.hidden_bias_delta[k], second_moment.hidden_bias_delta[k],
                 gradient.hidden_bias_delta[k], rate * kHiddenStep, kHidden);
        }
    }
    return at;
}

// A band's numbers as the file has them: gains and biases of outputs; and hidden biases by channel, without padding.
struct AdaptedBand {
    int8_t output[2 * kParameters] = {};
    std::vector<int8_t> hidden;
};

AdaptedBand quantised(const Parameters& parameters, const Band& band) {
    AdaptedBand stored;
    for (int o = 0; o < kParameters; o++) {
        stored.output[o] = kGain.stored(parameters.gain[o]);
        stored.output[kParameters + o] = kBias.stored(parameters.bias[o]);
    }
    for (int i = 0; !parameters.hidden_bias_delta.empty() && i < last_hidden(band).out; i++) {
        stored.hidden.push_back(kHidden.stored(parameters.hidden_bias_delta[i]));
    }
    return stored;
}

// And back.
Parameters dequantised(const AdaptedBand& stored, const Band& band) {
    Parameters parameters;
    for (int o = 0; o < kParameters; o++) {
        parameters.gain[o] = kGain.value(stored.output[o]);
        parameters.bias[o] = kBias.value(stored.output[kParameters + o]);
    }
    for (int8_t delta : stored.hidden) parameters.hidden_bias_delta.push_back(kHidden.value(delta));
    if (!stored.hidden.empty()) parameters.hidden_bias_delta.resize(size_t(last_hidden(band).rows()));
    return parameters;
}

// What the chunks that judge say that the whole band takes with `parameters`, in bits.
double estimated_bits(const Samples& samples, const Search& search, const OutputLayer& layer,
                      const Parameters& parameters) {
    const int judged = int(samples.chunks.size()) - samples.judged_from;
    const double bits = search.estimate(&samples.chunks[samples.judged_from], judged, layer, parameters, nullptr);
    return bits * double(samples.pixels) / double(judged * kChunk);
}

// The changes of one band at one level; none where they do not pay.
AdaptedBand fit_band(const Search& search, int level, const Band& band) {
    const Samples samples = draw_samples(search.source, search.plan.samples, level, band);
    if (samples.chunks.empty()) return {};
    const OutputLayer layer(band.layers.back());
    const double unadapted = estimated_bits(samples, search, layer, not_adapted());
    const auto fit = [&](bool hidden) { return quantised(descend(samples, search, layer, hidden), band); };
    const auto saved = [&](const AdaptedBand& stored) {
        return unadapted - estimated_bits(samples, search, layer, dequantised(stored, band));
    };
    AdaptedBand best = fit(samples.hidden);
    double pays = saved(best);
    if (samples.hidden) {
        AdaptedBand shallow = best;
        shallow.hidden.clear();
        if (pays - kHiddenBits * last_hidden(band).out < saved(shallow)) pays = saved(best = fit(false));
    }
    return pays < 2 * kParameters * kStoredBits ? AdaptedBand{} : best;
}

}  // namespace

OutputLayer::OutputLayer(const Layer& layer)
    : width((4 * layer.quads + 15) / 16 * 16), weight(size_t(width) * kOutputRows) {
    for (int o = 0; o < kParameters; o++) {
        const float unit = float(layer.multipliers(o)[0]) / float(1 << (kOutputShift + kFineShift));
        bias[o] = unit * float(layer.biases(0)[o]);
        for (int k = 0; k < width; k++) weight[size_t(k) * kOutputRows + o] = unit * float(layer.weights(o)[k]);
    }
}

AdaptedParameters fit_parameters(const std::vector<Pixels>& tiles, const Model& model, const Kernels& kernels,
                                 const FitPlan& plan, ThreadPool& pool) {
    std::vector<PyramidTile> sampled = build_sampled_tiles(tiles, pool);
    const Adaptation none = unpack({}, model);
    const SampleSource source{sampled, model, none, kernels, pool};
    const Search search{source, plan};
    const int fits = 3 * plan.levels;
    std::vector<AdaptedBand> bands(fits);
    pool.run(fits, [&](int task) {
        const int i = fits - 1 - task;  // the band with the most neighbours first, so that none is left waiting for it
        bands[i] = fit_band(search, i / 3, model.bands[i % 3]);
    });
    AdaptedParameters parameters;
    for (int i = 0; i < fits; i++) {
        bands[i].hidden.resize(size_t(last_hidden(model.bands[i % 3]).out));
        parameters.outputs.insert(parameters.outputs.end(), bands[i].output, bands[i].output + 2 * kParameters);
        parameters.hidden.insert(parameters.hidden.end(), bands[i].hidden.begin(), bands[i].hidden.end());
    }
    cut_zeros(parameters.outputs, kOutputsPerLevel);
    const size_t hidden_per_level = 3 * size_t(last_hidden(model.bands[0]).out);
    cut_zeros(parameters.hidden, hidden_per_level);
    // No level has hidden biases alone.
    const size_t least = parameters.hidden.size() / hidden_per_level * kOutputsPerLevel;
    parameters.outputs.resize(std::max(parameters.outputs.size(), least));
    return parameters;
}

}  // namespace llicti
