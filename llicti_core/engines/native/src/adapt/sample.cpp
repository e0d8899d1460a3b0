// Pixels of an image that an adaptation is fitted to.
#include "adapt/sample.hpp"

#include <algorithm>
#include <climits>
#include <numeric>

namespace llicti::fitting {
namespace {

constexpr int kCropSide = 1024;           // of a crop of an image that is too large to be looked at whole
constexpr int64_t kMostPixels = 6 << 20;  // of one that is not
constexpr int kAlignment = 256;           // of crops within tiles, so that phases stay the same

Crop read_crop(const Pixels& tile, int top, int left, int height, int width) {
    Crop crop{height, width, tile.deep ? kDeepBits - 8 : 0, {}};
    for (int c = 0; c < tile.channels; c++) crop.plane[c].resize(size_t(height) * size_t(width));
    for (int y = 0; y < height; y++) {
        int16_t* to[3];
        for (int c = 0; c < tile.channels; c++) to[c] = &crop.plane[c][size_t(y) * size_t(width)];
        read_row(kGenericKernels, tile, top + y, left, width, to);
    }
    return crop;
}

// The crop number `index` of `count`, within the tile that has the pixel at that share of the image.
Crop read_spread(const std::vector<Pixels>& tiles, int index, int count) {
    const size_t at = (2 * size_t(index) + 1) * tiles.size() / (2 * size_t(count));
    const Pixels& tile = tiles[at];
    // Crops of the same tile are spread along its diagonals, one after the other.
    const auto place = [](int size, int side, int number, int of) {
        if (size <= side) return 0;
        return int(int64_t(size - side) * (2 * number + 1) / (2 * of)) / kAlignment * kAlignment;
    };
    const int height = std::min(kCropSide, tile.height), width = std::min(kCropSide, tile.width);
    const int top = place(tile.height, height, index, count);
    const int left = place(tile.width, width, index * 2 % count + index * 2 / count % 2, count);
    return read_crop(tile, top, left, std::min(height, tile.height - top), std::min(width, tile.width - left));
}

constexpr int kAhead = 4;  // pixels from the one gathered to the one that is fetched

// Fetch what gathering will read.
void prefetch(const CropBand& band, int row, int column, bool chroma) {
#ifdef __GNUC__
    const int width = band.crop->width, x = (2 * column + band.shape->column) << band.level;
    for (int dy = -3; dy <= 3; dy++) {
        const int y = std::clamp((2 * row + band.shape->row + dy) * (1 << band.level), 0, band.crop->height - 1);
        for (int c = 0; c < (chroma ? 3 : 1); c++) {
            __builtin_prefetch(&band.crop->plane[c][size_t(y) * size_t(width) + size_t(x)]);
        }
    }
#else
    (void)band, (void)row, (void)column, (void)chroma;
#endif
}

}  // namespace

Sampled sample_image(const std::vector<Pixels>& tiles) {
    Sampled sampled{{}, tiles[0].channels, 0, 1, {{SHRT_MAX, SHRT_MAX, SHRT_MAX}, {SHRT_MIN, SHRT_MIN, SHRT_MIN}}};
    for (const Pixels& tile : tiles) sampled.pixels += double(tile.height) * tile.width;
    if (sampled.pixels <= double(kMostPixels)) {
        for (const Pixels& tile : tiles) sampled.crops.push_back(read_crop(tile, 0, 0, tile.height, tile.width));
    } else {
        const int side = std::min(kCropSide, std::max(tiles[0].height, tiles[0].width));
        const int count = int(kMostPixels / side / side);
        for (int i = 0; i < count; i++) sampled.crops.push_back(read_spread(tiles, i, count));
    }
    double looked_at = 0;
    for (const Crop& crop : sampled.crops) {
        looked_at += double(crop.height) * crop.width;
        for (int c = 0; c < sampled.channels; c++) {
            for (int16_t v : crop.plane[c]) {
                sampled.bounds.low[c] = std::min(sampled.bounds.low[c], int(v));
                sampled.bounds.high[c] = std::max(sampled.bounds.high[c], int(v));
            }
        }
    }
    sampled.share = looked_at / sampled.pixels;
    return sampled;
}

BandShape band_shape(const Band& band) {
    BandShape shape{kPhaseRow[band.phase], kPhaseColumn[band.phase], {}, {}, {}};
    const auto add = [&](const Place& place, std::vector<Offset>& to) {
        to.push_back({2 * place.row + kPhaseRow[place.phase] - shape.row,
                      2 * place.column + kPhaseColumn[place.phase] - shape.column});
    };
    for (const Place& place : band.neighbours) add(place, shape.known);
    for (const Place& place : band.more_luma) add(place, shape.more);
    std::copy(band.nearest.begin(), band.nearest.end(), shape.nearest);
    return shape;
}

CropBand crop_band(const Crop& crop, const BandShape& shape, int level) {
    const auto size = [&](int whole, int parity) { return (((whole + (1 << level) - 1) >> level) + 1 - parity) / 2; };
    CropBand part{&crop, &shape, level, size(crop.height, shape.row), size(crop.width, shape.column), {}};
    const auto add = [&](const Offset& place) {
        part.offsets.push_back((place.row * crop.width + place.column) * (1 << level));
    };
    for (const Offset& place : shape.known) add(place);
    for (const Offset& place : shape.more) add(place);
    for (const Offset& place : kBack) add(place);
    return part;
}

BandPixels::BandPixels(const Sampled& sampled, const Band& band, int sets)
    : sampled_(sampled), shape_(band_shape(band)), share_(sampled.share), sets_(size_t(sets)) {
    for (const Crop& crop : sampled.crops) {
        for (int level = 0; std::max(crop.height, crop.width) > kMaxLowpass << level; level++) {
            CropBand part = crop_band(crop, shape_, level);
            if (!part.pixels()) continue;
            Set& set = sets_[size_t(std::min(level, sets - 1))];
            set.count += part.pixels();
            set.parts.push_back(std::move(part));
            set.ends.push_back(set.count);
        }
    }
    for (Set& set : sets_) {
        set.stride = std::max<int64_t>(1, int64_t(double(set.count) * 0.6180339887));
        while (std::gcd(set.stride, set.count) > 1) set.stride++;
    }
}

void BandPixels::fill(const FitKernels& kernels, int set, int64_t first, bool chroma, ContextBlock& block) const {
    const Set& from = sets_[size_t(set)];
    block.set = set;
    block.count = int(std::min<int64_t>(kContexts, from.count));
    struct Spot {
        const CropBand* band;
        int row, column;
    } spots[kContexts];
    for (int i = 0; i < block.count; i++) {
        const int64_t at = (first + i) % from.count * from.stride % from.count;
        const size_t part = size_t(std::upper_bound(from.ends.begin(), from.ends.end(), at) - from.ends.begin());
        const CropBand& band = from.parts[part];
        const int64_t pixel = at - (from.ends[part] - band.pixels());
        spots[i] = {&band, int(pixel / band.columns), int(pixel % band.columns)};
    }
    for (int i = 0; i < block.count; i++) {
        // Spread as they are, pixels are not in the caches.
        if (i + kAhead < block.count)
            prefetch(*spots[i + kAhead].band, spots[i + kAhead].row, spots[i + kAhead].column, chroma);
        kernels.gather(*spots[i].band, spots[i].row, spots[i].column, chroma, sampled_.bounds, block, i);
    }
}

}  // namespace llicti::fitting
