// Pixels of an image that an adaptation is fitted to.
#include "adapt/sample.hpp"

#include <algorithm>

namespace llicti {
namespace {

constexpr int kRuns = kChunk / kSampleRun;
constexpr int kLeastPixels = 4096;    // of a band, for it to be worth a fit
constexpr int kPixelsPerHidden = 96;  // of a band, for fitting one of its hidden biases to pay

}  // namespace

std::vector<PyramidTile> build_sampled_tiles(const std::vector<Pixels>& tiles, ThreadPool& pool) {
    const size_t looked_at = std::min(tiles.size(), size_t(kMaxSampledTiles));
    std::vector<PyramidTile> pyramids(looked_at);
    for (size_t i = 0; i < looked_at; i++) {
        Image image = read_pixels(tiles[i * tiles.size() / looked_at], pool);
        pyramids[i].bounds = find_bounds(image, pool);
        pyramids[i].levels = build_pyramid(image, pool);
    }
    return pyramids;
}

Samples draw_samples(const SampleSource& source, int64_t most, int level, const Band& band) {
    Samples samples{};
    std::vector<PyramidTile*> used;
    for (PyramidTile& tile : source.tiles) {
        const int64_t pixels = band_pixels(tile.levels[level], band);
        samples.pixels += pixels;
        if (pixels >= kLeastPixels / kMaxSampledTiles) used.push_back(&tile);
    }
    if (samples.pixels < kLeastPixels || used.empty()) return samples;
    samples.hidden = samples.pixels >= int64_t(kPixelsPerHidden) * last_hidden(band).out;
    // Of what is sampled two thirds are fitted to and the rest judge, so that no fit is judged by what it has learnt by
    // heart; but a band sampled whole has nothing else to learn.
    const bool whole = source.tiles.size() == 1 && samples.pixels <= most;
    const int total = int(whole ? samples.pixels : std::min(most + most / 2, samples.pixels)) / kChunk;
    samples.fitted = whole ? total : total - total / 3;
    samples.judged_from = whole ? 0 : samples.fitted;
    samples.chunks.resize(total);
    for (int n = 0; n < total; n++) {
        source.pool.check_interruption();
        // Chunks take tiles in turn and spread over all of theirs; where some only judge, each third one.
        PyramidTile& tile = *used[n % used.size()];
        const int64_t last = band_pixels(tile.levels[level], band) - kSampleRun;
        int64_t starts[kRuns];
        for (int run = 0; run < kRuns; run++) {
            starts[run] = last * (int64_t(run) * total + n) / (int64_t(kRuns) * total);
        }
        const int place = whole ? n : n % 3 == 2 ? samples.fitted + n / 3 : n - n / 3;
        const BandContext context =
            band_context(source.model, source.none, band, level, tile.levels[level], tile.bounds);
        source.kernels.sample(context, starts, samples.hidden, samples.chunks[place]);
    }
    return samples;
}

}  // namespace llicti
