// The search for the adaptation of a model to an image: gradient descent (Adam; Kingma and Ba, 2015) on bits of the
// image and of the numbers together, rounding within the loop towards the end, then leaving out what does not pay.
// Each band's network of luma or chroma is searched on its own, by one thread, so that the result does not depend on
// how many threads there are.
#include "adapt/optimiser.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "adapt/payload.hpp"
#include "adapt/twin.hpp"

namespace llicti::fitting {
namespace {

constexpr int kPrecision = 1;
constexpr double kPayloadBytes = 24;  // of an adaptation that changes nothing

// Adam, in the numbers' units.
constexpr float kMeanBeta = 0.6f, kSquareBeta = 0.99f;
constexpr int kWarmUp = 10;        // steps
constexpr float kRounded = 0.4f;   // share of the steps, the last ones, that see numbers rounded
constexpr float kDeadZone = 0.2f;  // by how much rounding favours zero

// How far a number goes in a step.
struct Rates {
    float weight, hidden_bias, output;  // output: gains and shifts
};
constexpr Rates kOutputRates = {0.18f, 0.9f, 1.5f};  // where outputs alone are open
constexpr Rates kAllRates = {0.12f, 0.12f, 0.5f};

// Bits that a number costs, about: kPrice * log2(1 + |number|). What it says of their entropy is less than half of
// this, but a number that pays little does so by chance.
constexpr float kPrice = 6;

// Standard errors of what blocks say that an adaptation saves, which it has to save beyond what it takes.
constexpr double kCertainty = 1;

int8_t rounded(float number) {
    const int size = int(std::abs(number) + 0.5f - kDeadZone);
    return int8_t(number < 0 ? -size : size);
}

// Blocks that are cached have more memory than the processor's caches.
void fetch(const ContextBlock& block) {
#ifdef __GNUC__
    for (const Row& row : block.rows) {
        for (int p = 0; p < kContexts; p += 16) __builtin_prefetch(&row.of[p]);
    }
#else
    (void)block;
#endif
}

// A network's numbers as the file has them, the bits that these take, and those that each block takes which judges.
struct Candidate {
    std::vector<int8_t> numbers;
    double own;
    std::vector<double> blocks;
};

// What an adaptation of a network is: all 0 where no change pays.
struct Found {
    std::vector<std::vector<int8_t>> arrays;
    double own = 0;             // bits that it takes
    std::vector<double> saved;  // and those of the image that it saves, by block that judges
};

// What is open to a search: all numbers, or those of the output layer and the biases of the hidden layer before it,
// for which blocks are cached.
enum class Scope { kOutputs, kAll };

// The search for one network.
class NetworkSearch {
public:
    NetworkSearch(const SampledImage& image, const CellBlocks& cell_blocks, const Model& model, NetworkKind kind,
                  int band, const FitPlan& plan, const FitKernels& kernels, ThreadPool& pool)
        : image_(image),
          cell_blocks_(cell_blocks),
          kind_(kind),
          band_(band),
          inputs_(model.networks[kind][size_t(band)].layers[0].in),
          depth_(int(model.networks[kind][size_t(band)].layers.size()) - 1),
          plan_(plan),
          kernels_(kernels),
          pool_(pool),
          twin_(model.networks[kind][size_t(band)], kind, kSets, kPrecision) {
        for (int c = 0; c < twin_.network().channels; c++) {
            const int channel = kind == kChroma ? c + 1 : c;
            const int values = cell_blocks.bounds.high[channel] - cell_blocks.bounds.low[channel] + 1;
            twin_.network().share[c] = values > 1 ? 1.0f - float(values) * kEvenShare : 0.0f;
        }
    }

    Found run() {
        const size_t judges = cell_blocks_.all.size() - cell_blocks_.first_judging;
        Candidate best{std::vector<int8_t>(twin_.size()), 0, std::vector<double>(judges)};
        Found found{{}, 0, std::vector<double>(judges)};
        if (image_.pixels(0, band_) > 0) {
            Numbers numbers(twin_.size());
            set_judges(Scope::kOutputs);
            judge(best, Scope::kOutputs, kEverySet);
            const std::vector<double> unadapted = best.blocks;
            improve(best, numbers, Scope::kOutputs);
            if (plan_.steps) improve(best, numbers, Scope::kAll);
            for (size_t i = 0; i < unadapted.size(); i++) found.saved[i] = unadapted[i] - best.blocks[i];
            found.own = best.own;
        }
        for (const ArrayPlace& array : twin_.arrays()) {
            const auto first = best.numbers.begin() + ptrdiff_t(array.first);
            found.arrays.emplace_back(first, first + ptrdiff_t(array.count));
        }
        return found;
    }

private:
    static constexpr float kEvenShare = 1.0f / 65536;
    static constexpr int kEverySet = -1;

    // Searches on from `numbers`; `best` is replaced by what is found if that is smaller.
    void improve(Candidate& best, Numbers& numbers, Scope scope) {
        if (scope == Scope::kOutputs) {
            const size_t count = std::min(cell_blocks_.fitted, size_t(plan_.output_blocks));
            descend(numbers, scope, plan_.output_batch, plan_.output_steps, blocks(0, count, scope));
        } else {
            set_judges(scope);
            descend(numbers, scope, plan_.batch, plan_.steps, {});
        }
        Candidate found = choose(numbers, scope);
        if (total(found) < total(best)) best = std::move(found);
    }

    // What the network sees of `count` blocks of cells.
    std::vector<ContextBlock> blocks(size_t first, size_t count, Scope scope) {
        if (scope == Scope::kOutputs) twin_.set(Numbers(twin_.size()), false);  // the model as it is fills the caches
        std::vector<ContextBlock> blocks(count);
        ContextBlock seen = new_block();
        for (size_t i = 0; i < count; i++) {
            pool_.check_interruption();
            if (scope == Scope::kOutputs) {
                see(cell_blocks_.all[first + i], seen);
                kernels_.cache(twin_.network(), seen, blocks[i]);
            } else {
                blocks[i] = new_block();
                see(cell_blocks_.all[first + i], blocks[i]);
            }
        }
        return blocks;
    }

    ContextBlock new_block() const {
        ContextBlock block{};
        block.rows.resize(size_t(padded(inputs_)));
        return block;
    }

    void see(const CellBlock& cells, ContextBlock& block) const {
        kernels_.see(image_.view(band_), cells, kind_ == kChroma, cell_blocks_.bounds, image_.extra(), block);
    }

    // Bits of an array's numbers.
    static double cost(const std::vector<int8_t>& numbers, const ArrayPlace& array) {
        const Histogram histogram = count_numbers(&numbers[array.first], array.count);
        const bool changed = size_t(histogram[size_t(-kAdaptedMin)]) < array.count;
        return changed ? 8 + cheapest(histogram).bits : 0;
    }

    void set_judges(Scope scope) {
        judging_ = blocks(cell_blocks_.first_judging, cell_blocks_.all.size() - cell_blocks_.first_judging, scope);
        double contexts[kSets] = {};
        for (const ContextBlock& block : judging_) contexts[block.set] += block.count;
        for (int set = 0; set < kSets; set++) {
            stands_for_[set] = contexts[set] > 0 ? image_.pixels(set, band_) / contexts[set] : 0;
        }
    }

    // What blocks say that the whole image takes with a candidate's numbers: its pixels of one set, or of every one.
    void judge(Candidate& candidate, Scope scope, int changed_set) {
        pool_.check_interruption();
        twin_.set_exactly(candidate.numbers, scope == Scope::kOutputs);
        for (size_t i = 0; i < judging_.size(); i++) {
            const ContextBlock& block = judging_[i];
            if (changed_set != kEverySet && block.set != changed_set) continue;
            candidate.blocks[i] = stands_for_[block.set] * kernels_.evaluate(twin_.network(), block, nullptr);
        }
    }

    static double total(const Candidate& candidate) {
        return std::accumulate(candidate.blocks.begin(), candidate.blocks.end(), candidate.own);
    }

    bool is_open(const ArrayPlace& array, Scope scope) const {
        return scope == Scope::kAll || array.layer == depth_ ||
               (array.kind == ArrayKind::kHiddenBias && array.layer == depth_ - 1);
    }

    static float learning_rate(const ArrayPlace& array, Scope scope) {
        const Rates& rates = scope == Scope::kOutputs ? kOutputRates : kAllRates;
        if (array.kind == ArrayKind::kWeight) return rates.weight;
        return array.kind == ArrayKind::kHiddenBias ? rates.hidden_bias : rates.output;
    }

    // Adam, with half a cosine. Blocks are taken in turn from those cached, or drawn anew from the first cell on, those
    // that judge among them.
    void descend(Numbers& numbers, Scope scope, int batch, int steps, const std::vector<ContextBlock>& cached) {
        Numbers mean(twin_.size()), square(twin_.size()), slopes(twin_.size()), seen(numbers);
        int64_t next[kSets] = {};
        ContextBlock drawn = new_block();
        const std::vector<int> places = image_.seen(band_, kind_ == kChroma);
        const auto cells = std::make_unique<CellBlock>();
        const double whole = image_.pixels(0, band_) + image_.pixels(1, band_);
        float mean_left = 1, square_left = 1;
        for (int t = 0, turn = 0; t < steps; t++) {
            pool_.check_interruption();
            // The slopes are taken there, and change what was not rounded ("straight through").
            const bool whole_numbers = float(t) >= (1 - kRounded) * float(steps);
            for (const ArrayPlace& array : twin_.arrays()) {
                if (!is_open(array, scope)) continue;
                const auto first = numbers.begin() + ptrdiff_t(array.first), last = first + ptrdiff_t(array.count);
                const auto to = seen.begin() + ptrdiff_t(array.first);
                if (whole_numbers) {
                    std::transform(first, last, to, [](float n) { return float(rounded(n)); });
                } else {
                    std::copy(first, last, to);
                }
            }
            twin_.set(seen, scope == Scope::kOutputs);
            FloatGradient& gradient = twin_.clear_gradient(scope == Scope::kAll);
            int contexts = 0;
            for (int i = 0; i < batch; i++, turn++) {
                const ContextBlock* block = &drawn;
                if (scope == Scope::kOutputs) {
                    block = &cached[size_t(turn) % cached.size()];
                    fetch(cached[size_t(turn + 1) % cached.size()]);
                } else {
                    const int set = set_of_block(image_, turn);
                    image_.look(kernels_, set, next[set], places, *cells);
                    next[set] += cells->count;
                    see(*cells, drawn);
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
        Candidate best{std::vector<int8_t>(numbers.size()), 0, std::vector<double>(judging_.size())};
        std::transform(numbers.begin(), numbers.end(), best.numbers.begin(), rounded);
        twin_.keep_bounds(best.numbers);
        judge(best, scope, kEverySet);
        for (const ArrayPlace& array : twin_.arrays()) best.own += cost(best.numbers, array);
        for (const ArrayPlace& array : twin_.arrays()) {
            const double saved = cost(best.numbers, array);
            if (saved == 0) continue;
            Candidate without = best;
            std::fill_n(without.numbers.begin() + ptrdiff_t(array.first), array.count, int8_t(0));
            const bool is_bound = array.kind == ArrayKind::kWeight || array.kind == ArrayKind::kHiddenBias;
            if (is_bound && twin_.keep_bounds(without.numbers)) continue;  // what was held within bounds by the array
            without.own -= saved;
            judge(without, scope, array.kind == ArrayKind::kWeight ? kEverySet : array.set);
            if (total(without) < total(best)) best = std::move(without);
        }
        return best;
    }

    const SampledImage& image_;
    const CellBlocks& cell_blocks_;
    const NetworkKind kind_;
    const int band_, inputs_, depth_;
    const FitPlan& plan_;
    const FitKernels& kernels_;
    ThreadPool& pool_;
    Twin twin_;
    std::vector<ContextBlock> judging_;
    double stands_for_[kSets];  // pixels of a set for which one of theirs stands
};

// Whether adaptations together save more than they take: surely, as far as the blocks that judge tell.
bool pays(const std::vector<Found>& found, const CellBlocks& cell_blocks) {
    double own = 8 * kPayloadBytes, saved = 0, variance = 0;
    for (const Found& each : found) own += each.own;
    for (int set = 0; set < kSets; set++) {
        double count = 0, sum = 0, squares = 0;
        for (size_t i = 0; i < found[0].saved.size(); i++) {
            if (cell_blocks.all[cell_blocks.first_judging + i].set != set) continue;
            double here = 0;
            for (const Found& each : found) here += each.saved[i];
            count++;
            sum += here;
            squares += here * here;
        }
        saved += sum;
        if (count > 1) variance += (squares - sum * sum / count) * count / (count - 1);
    }
    return saved - kCertainty * std::sqrt(std::max(0.0, variance)) > own;
}

}  // namespace

std::vector<uint8_t> fit(const std::vector<Pixels>& tiles, const Model& model, const FitPlan (&plans)[kNetworks],
                         const FitKernels& kernels, ThreadPool& pool) {
    const SampledImage image(tiles, model);
    const size_t count = image.channels() == 1 ? kBands : kNetworks * kBands;
    const auto most = [&](int FitPlan::* blocks) { return std::max(plans[kLuma].*blocks, plans[kChroma].*blocks); };
    const CellBlocks cell_blocks =
        look_around(image, kernels, most(&FitPlan::output_blocks), most(&FitPlan::judged), pool);
    std::vector<Found> found(count);
    pool.run(int(count), [&](int task) {
        // Chroma of the band with the most neighbours first, so that none is left waiting for it.
        const size_t i = count - 1 - size_t(task), kind = i / kBands;
        found[i] =
            NetworkSearch(image, cell_blocks, model, NetworkKind(kind), int(i % kBands), plans[kind], kernels, pool)
                .run();
    });
    if (!pays(found, cell_blocks)) return {};
    std::vector<std::vector<int8_t>> arrays;
    for (Found& each : found) arrays.insert(arrays.end(), each.arrays.begin(), each.arrays.end());
    return pack_numbers(kSets, kPrecision, arrays);
}

}  // namespace llicti::fitting
