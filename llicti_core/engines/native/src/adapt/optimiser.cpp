// The search for the adaptation of a model to an image: gradient descent (Adam; Kingma and Ba, 2015) on bits of the
// image and of the numbers together, rounding within the loop towards the end, then leaving out what does not pay.
// Each band's network of luma or chroma is searched on its own, by one thread, so that the result does not depend on
// how many threads there are.
#include "adapt/optimiser.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "adapt/payload.hpp"
#include "adapt/twin.hpp"

namespace llicti::fitting {
namespace {

constexpr int kSets = 2;  // the finest level has one of its own, which codes three quarters of the pixels
constexpr int kPrecision = 1;
constexpr double kPayloadBytes = 24;  // of an adaptation that changes nothing

// Adam, in the numbers' units.
constexpr float kMeanBeta = 0.9f, kSquareBeta = 0.997f;
constexpr float kWeightRate = 0.12f;  // and, where all numbers are open, of hidden biases
constexpr float kOutputRate = 1.2f;   // of gains and biases, at first
constexpr float kLaterRate = 0.5f;    // and when all numbers are open
constexpr int kWarmUp = 10;           // steps
constexpr float kRounded = 0.4f;      // share of the steps, the last ones, that see numbers rounded
constexpr float kDeadZone = 0.2f;     // by how much rounding favours zero

// Bits that a number costs, about: kPrice * log2(1 + |number|). What it says of their entropy is less than half of
// this, but a number that pays little does so by chance.
constexpr float kPrice = 6;

int8_t rounded(float number) {
    const int size = int(std::abs(number) + 0.5f - kDeadZone);
    return int8_t(number < 0 ? -size : size);
}

// A network's numbers as the file has them, and what they and the pixels take together, in bits.
struct Candidate {
    std::vector<int8_t> numbers;
    double bits;
};

// What is open to a search: all numbers, or those of the output layer and the biases of the hidden layer before it,
// for which blocks are cached.
enum class Scope { kOutputs, kAll };

// The search for one network.
class NetworkSearch {
public:
    NetworkSearch(const Sampled& sampled, const Network& model, const Band& band, NetworkKind kind, const FitPlan& plan,
                  const FitKernels& kernels, ThreadPool& pool)
        : kind_(kind),
          depth_(int(model.layers.size()) - 1),
          inputs_(model.layers[0].in),
          plan_(plan),
          kernels_(kernels),
          pool_(pool),
          pixels_(sampled, band, kSets),
          twin_(model, kind == kChroma ? 2 : 1, kSets, kPrecision) {
        for (int c = 0; c < twin_.network().channels; c++) {
            const int channel = kind == kChroma ? c + 1 : c;
            const int values = sampled.bounds.high[channel] - sampled.bounds.low[channel] + 1;
            twin_.network().share[c] = values > 1 ? 1.0f - float(values) * kEvenShare : 0.0f;
        }
    }

    // The numbers of each array, all 0 where no change pays. saved: bits that it does pay.
    std::vector<std::vector<int8_t>> run(double& saved) {
        Candidate best{std::vector<int8_t>(twin_.size()), 0};
        saved = 0;
        if (pixels_.count(0)) {
            Numbers numbers(twin_.size());
            judging_ = draw_blocks(plan_.judged, plan_.output_blocks, Scope::kOutputs);
            best = judged(best.numbers, Scope::kOutputs);
            const double unadapted = best.bits;
            improve(best, numbers, Scope::kOutputs);
            if (plan_.steps) improve(best, numbers, Scope::kAll);
            saved = unadapted - best.bits;
        }
        std::vector<std::vector<int8_t>> arrays;
        for (const ArrayPlace& array : twin_.arrays()) {
            const auto first = best.numbers.begin() + ptrdiff_t(array.first);
            arrays.emplace_back(first, first + ptrdiff_t(array.count));
        }
        return arrays;
    }

private:
    static constexpr float kEvenShare = 1.0f / 65536;

    // Searches on from `numbers`; `best` is replaced by what is found if that is smaller.
    void improve(Candidate& best, Numbers& numbers, Scope scope) {
        if (scope == Scope::kOutputs) {
            const std::vector<ContextBlock> fitted = draw_blocks(plan_.output_blocks, 0, scope);
            descend(numbers, scope, plan_.output_batch, plan_.output_steps, fitted);
        } else {
            judging_ = draw_blocks(plan_.judged, plan_.output_blocks, scope);
            descend(numbers, scope, plan_.batch, plan_.steps, {});
        }
        Candidate found = choose(numbers, scope);
        if (found.bits < best.bits) best = std::move(found);
    }

    // Of each four blocks the last is of the coarser levels, as of pixels.
    int set_of(int block) const { return block % 4 == 3 && pixels_.count(1) ? 1 : 0; }

    // `count` blocks after the first `skipped` ones, or fewer where the image has no more pixels; all of them if none
    // are left.
    std::vector<ContextBlock> draw_blocks(int count, int skipped, Scope scope) {
        if (scope == Scope::kOutputs) twin_.set(Numbers(twin_.size()), false);  // the model as it is fills the caches
        std::vector<ContextBlock> blocks;
        int64_t next[kSets] = {};
        for (int i = 0; i < skipped + count; i++) {
            const int set = set_of(i);
            const int64_t first = next[set];
            next[set] += kContexts;
            if (i < skipped || first >= pixels_.count(set)) continue;
            pool_.check_interruption();
            blocks.push_back(new_block());
            ContextBlock& block = blocks.back();
            pixels_.fill(kernels_, set, first, kind_ == kChroma, block);
            block.count = int(std::min<int64_t>(block.count, pixels_.count(set) - first));
            if (scope == Scope::kOutputs) kernels_.cache(twin_.network(), block);
        }
        return blocks.empty() && skipped ? draw_blocks(count, 0, scope) : blocks;
    }

    ContextBlock new_block() const {
        ContextBlock block{};
        block.stride = padded(inputs_);
        block.rows.resize(size_t(kContexts) * size_t(block.stride));
        return block;
    }

    double cost(const std::vector<int8_t>& numbers) const {
        double bits = 0;
        for (const ArrayPlace& array : twin_.arrays()) {
            const Histogram histogram = count_numbers(&numbers[array.first], array.count);
            if (size_t(histogram[size_t(-kAdaptedMin)]) < array.count) bits += 8 + cheapest(histogram).bits;
        }
        return bits;
    }

    // What the blocks that judge say that the whole image takes.
    Candidate judged(std::vector<int8_t> numbers, Scope scope) {
        pool_.check_interruption();
        twin_.keep_bounds(numbers);
        twin_.set_exactly(numbers, scope == Scope::kOutputs);
        double bits[kSets] = {}, contexts[kSets] = {};
        for (const ContextBlock& block : judging_) {
            bits[block.set] += kernels_.evaluate(twin_.network(), block, nullptr);
            contexts[block.set] += block.count;
        }
        double total = cost(numbers);
        for (int set = 0; set < kSets; set++) {
            if (contexts[set] > 0) total += bits[set] * pixels_.whole(set) / contexts[set];
        }
        return {std::move(numbers), total};
    }

    bool is_open(const ArrayPlace& array, Scope scope) const {
        return scope == Scope::kAll || array.layer == depth_ ||
               (array.kind == ArrayKind::kHidden && array.layer == depth_ - 1);
    }

    static float learning_rate(const ArrayPlace& array, Scope scope) {
        if (array.kind == ArrayKind::kWeight) return kWeightRate;
        if (scope == Scope::kOutputs) return kOutputRate;
        return array.kind == ArrayKind::kHidden ? kWeightRate : kLaterRate;
    }

    // Adam, with half a cosine. Blocks are taken in turn from those cached, or drawn anew.
    void descend(Numbers& numbers, Scope scope, int batch, int steps, const std::vector<ContextBlock>& cached) {
        Numbers mean(twin_.size()), square(twin_.size()), slopes(twin_.size()), seen(twin_.size());
        int64_t next[kSets] = {};
        ContextBlock drawn = new_block();
        const double whole = pixels_.whole(0) + pixels_.whole(1);
        float mean_left = 1, square_left = 1;
        for (int t = 0, turn = 0; t < steps; t++) {
            pool_.check_interruption();
            seen = numbers;
            // The slopes are taken there, and change what was not rounded ("straight through").
            if (float(t) >= (1 - kRounded) * float(steps)) {
                std::transform(seen.begin(), seen.end(), seen.begin(), [](float n) { return float(rounded(n)); });
            }
            twin_.set(seen, scope == Scope::kOutputs);
            FloatGradient& gradient = twin_.clear_gradient(scope == Scope::kAll, true);
            int contexts = 0;
            for (int i = 0; i < batch; i++, turn++) {
                const ContextBlock* block = &drawn;
                if (scope == Scope::kOutputs) {
                    block = &cached[size_t(turn) % cached.size()];
                } else {
                    const int set = set_of(i);
                    pixels_.fill(kernels_, set, next[set], kind_ == kChroma, drawn);
                    next[set] += drawn.count;
                }
                kernels_.evaluate(twin_.network(), *block, &gradient);
                contexts += block->count;
            }
            twin_.find_slopes(slopes);
            mean_left *= kMeanBeta;
            square_left *= kSquareBeta;
            const float rate =
                std::min(1.0f, float(t + 1) / kWarmUp) * 0.5f * (1 + std::cos(3.14159265f * float(t) / float(steps)));
            AdamStep step{1 - kMeanBeta,
                          1 - kSquareBeta,
                          1 / (1 - mean_left),
                          1 / (1 - square_left),
                          0,
                          float(kPrice * 1.44269504 * contexts / whole)};
            for (const ArrayPlace& array : twin_.arrays()) {
                if (!is_open(array, scope)) continue;
                step.rate = rate * learning_rate(array, scope);
                const size_t first = array.first;
                kernels_.step(step, array.count, &slopes[first], &numbers[first], &mean[first], &square[first]);
            }
        }
    }

    // Rounds, and leaves out arrays that do not pay.
    Candidate choose(const Numbers& numbers, Scope scope) {
        std::vector<int8_t> whole(numbers.size());
        std::transform(numbers.begin(), numbers.end(), whole.begin(), rounded);
        Candidate best = judged(std::move(whole), scope);
        for (const ArrayPlace& array : twin_.arrays()) {
            const auto first = best.numbers.begin() + ptrdiff_t(array.first);
            if (std::all_of(first, first + ptrdiff_t(array.count), [](int8_t n) { return n == 0; })) continue;
            std::vector<int8_t> fewer = best.numbers;
            std::fill_n(fewer.begin() + ptrdiff_t(array.first), array.count, int8_t(0));
            Candidate without = judged(std::move(fewer), scope);
            if (without.bits < best.bits) best = std::move(without);
        }
        return best;
    }

    const NetworkKind kind_;
    const int depth_, inputs_;
    const FitPlan& plan_;
    const FitKernels& kernels_;
    ThreadPool& pool_;
    const BandPixels pixels_;
    Twin twin_;
    std::vector<ContextBlock> judging_;
};

}  // namespace

std::vector<uint8_t> fit(const std::vector<Pixels>& tiles, const Model& model, const FitPlan& plan,
                         const FitKernels& kernels, ThreadPool& pool) {
    const Sampled sampled = sample_image(tiles);
    const size_t count = sampled.channels == 1 ? kBands : kNetworks * kBands;
    std::vector<std::vector<std::vector<int8_t>>> found(count);
    std::vector<double> saved(count);
    pool.run(int(count), [&](int task) {
        // Chroma of the band with the most neighbours first, so that none is left waiting for it.
        const size_t i = count - 1 - size_t(task), network = i / kBands, band = i % kBands;
        NetworkSearch search(sampled, model.networks[network][band], model.bands[band], NetworkKind(network), plan,
                             kernels, pool);
        found[i] = search.run(saved[i]);
    });
    if (std::accumulate(saved.begin(), saved.end(), 0.0) <= 8 * kPayloadBytes) return {};
    std::vector<std::vector<int8_t>> arrays;
    for (auto& each : found) arrays.insert(arrays.end(), each.begin(), each.end());
    return pack_numbers(kSets, kPrecision, arrays);
}

}  // namespace llicti::fitting
