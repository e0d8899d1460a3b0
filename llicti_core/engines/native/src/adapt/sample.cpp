// Pixels of an image that an adaptation is fitted to.
#include "adapt/sample.hpp"

#include <algorithm>
#include <climits>
#include <numeric>
#include <stdexcept>

namespace llicti::fitting {
namespace {

constexpr Offset kBack[5] = {{0, -2}, {0, -4}, {-2, -2}, {-2, 0}, {-2, 2}};

Offset operator+(Offset a, Offset b) { return {a.row + b.row, a.column + b.column}; }

// At which edges the cell is.
uint8_t edges(const LevelView& level, int row, int column) {
    const auto if_so = [](bool holds, CellBlock::Edge edge) { return holds ? int(edge) : 0; };
    return uint8_t(if_so(row == 0, CellBlock::kFirstRow) | if_so(column == 0, CellBlock::kFirstColumn) |
                   if_so(column == 1, CellBlock::kSecondColumn) |
                   if_so(2 * column + 2 >= level.width, CellBlock::kLastColumn) |
                   if_so(2 * column + 3 >= level.width, CellBlock::kLastOddColumn) |
                   if_so(2 * row + 1 >= level.height, CellBlock::kNoOddRow) |
                   if_so(2 * column + 1 >= level.width, CellBlock::kNoOddColumn));
}

// At which edges a cell has no pixel so far from its own.
uint8_t edges_without(Offset back, bool odd_column) {
    uint8_t edges = back.row < 0 ? CellBlock::kFirstRow : 0;
    if (back.column < 0) edges |= CellBlock::kFirstColumn;
    if (back.column < -2) edges |= CellBlock::kSecondColumn;
    if (back.column > 0) edges |= odd_column ? CellBlock::kLastOddColumn : CellBlock::kLastColumn;
    return edges;
}

}  // namespace

LevelView level_view(const Pixels& tile, int level) {
    const ptrdiff_t pixel = tile.at(0, 1) - tile.at(0, 0);
    return {tile.data,
            tile.stride * (1 << level),
            pixel * (1 << level),
            level_size(tile.height, level),
            level_size(tile.width, level),
            uint8_t(std::min(level, kBiasLevels - 1))};
}

SampledImage::SampledImage(const std::vector<Pixels>& tiles, const Model& model)
    : format_{tiles[0].channels, tiles[0].deep} {
    for (size_t b = 0; b < kBands; b++) {
        const Band& band = model.bands[b];
        BandView& view = views_[b];
        const Offset own{kPhaseRow[band.phase], kPhaseColumn[band.phase]};
        const auto offset = [](const Place& place) {
            return Offset{2 * place.row + kPhaseRow[place.phase], 2 * place.column + kPhaseColumn[place.phase]};
        };
        view.own = place(own);
        for (const Place& each : band.neighbours) view.known.push_back(place(offset(each)));
        for (const Place& each : band.more_luma) view.more.push_back(place(offset(each)));
        std::copy(band.nearest.begin(), band.nearest.end(), view.nearest);
        view.missing = uint8_t((own.row ? CellBlock::kNoOddRow : 0) | (own.column ? CellBlock::kNoOddColumn : 0));
        for (int i = 0; i < 5; i++) {
            view.back[i] = place(own + kBack[i]);
            view.missing_back[i] = edges_without(kBack[i], own.column != 0);
        }
    }
    for (const Pixels& tile : tiles) {
        for (int number = 0; std::max(tile.height, tile.width) > kMaxLowpass << number; number++) {
            const LevelView level = level_view(tile, number);
            Set& set = sets_[std::min(number, kSets - 1)];
            set.levels.push_back(level);
            set.cell_count += int64_t((level.height + 1) / 2) * ((level.width + 1) / 2);
            set.ends.push_back(set.cell_count);
            for (size_t b = 0; b < kBands; b++) {
                const int phase = model.bands[b].phase;
                set.pixels[b] +=
                    int64_t((level.height + 1 - kPhaseRow[phase]) / 2) * ((level.width + 1 - kPhaseColumn[phase]) / 2);
            }
        }
    }
    for (Set& set : sets_) {
        set.stride = std::max<int64_t>(1, int64_t(double(set.cell_count) * 0.6180339887));
        while (std::gcd(set.stride, set.cell_count) > 1) set.stride++;
    }
}

int SampledImage::place(Offset offset) {
    for (size_t i = 0; i < places_.size(); i++) {
        if (places_[i].row == offset.row && places_[i].column == offset.column) return int(i);
    }
    if (places_.size() == kMostPlaces || std::max(std::abs(offset.row), std::abs(offset.column)) > kReach) {
        throw std::logic_error("networks see more than a search can look at");
    }
    places_.push_back(offset);
    return int(places_.size()) - 1;
}

std::vector<int> SampledImage::seen(int band, bool chroma) const {
    const BandView& view = views_[size_t(band)];
    std::vector<int> seen{view.own};
    seen.insert(seen.end(), view.known.begin(), view.known.end());
    if (chroma) seen.insert(seen.end(), view.more.begin(), view.more.end());
    seen.insert(seen.end(), std::begin(view.back), std::end(view.back));
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    return seen;
}

std::vector<int> SampledImage::all_places() const {
    std::vector<int> all(places_.size());
    std::iota(all.begin(), all.end(), 0);
    return all;
}

void SampledImage::look(const FitKernels& kernels, int set, int64_t first, const std::vector<int>& wanted,
                        CellBlock& cells) const {
    const Set& from = sets_[set];
    const int count = int(std::min<int64_t>(kContexts, from.cell_count));
    Spot spots[kContexts];
    for (int i = 0; i < kContexts; i++) {
        const int64_t at = (first + (i < count ? i : 0)) % from.cell_count * from.stride % from.cell_count;
        const size_t part = size_t(std::upper_bound(from.ends.begin(), from.ends.end(), at) - from.ends.begin());
        const LevelView& level = from.levels[part];
        const int64_t cell = at - (part ? from.ends[part - 1] : 0);
        const int columns = (level.width + 1) / 2;
        spots[i] = {&level, int(cell / columns), int(cell % columns)};
    }
    look_at(kernels, set, count, spots, wanted, cells);
}

void SampledImage::look_at(const FitKernels& kernels, int set, int count, const Spot (&spots)[kContexts],
                           const std::vector<int>& wanted, CellBlock& cells) const {
    cells.set = set;
    cells.count = count;
    for (int i = 0; i < kContexts; i++) {
        cells.level[i] = spots[i].level->number;
        cells.edge[i] = edges(*spots[i].level, spots[i].row, spots[i].column);
    }
    kernels.look(format_, spots, places_, wanted, cells);
}

int set_of_block(const SampledImage& image, int block) { return block % 4 == 3 && image.cell_count(1) ? 1 : 0; }

CellBlocks look_around(const SampledImage& image, const FitKernels& kernels, int fitted, int judging,
                       ThreadPool& pool) {
    std::vector<int64_t> firsts;
    CellBlocks around{{}, 0, 0, {{SHRT_MAX, SHRT_MAX, SHRT_MAX}, {SHRT_MIN, SHRT_MIN, SHRT_MIN}}};
    std::vector<CellBlock>& all = around.all;
    all.reserve(size_t(fitted + judging));
    int64_t next[kSets] = {};
    for (int i = 0; i < fitted + judging; i++) {
        const int set = set_of_block(image, i);
        if (next[set] < image.cell_count(set)) {
            all.emplace_back().set = set;
            firsts.push_back(next[set]);
        }
        next[set] += kContexts;
        if (i + 1 == fitted) around.fitted = all.size();
    }
    if (around.fitted < all.size()) around.first_judging = around.fitted;
    const std::vector<int> places = image.all_places();
    pool.run(int(all.size()), [&](int i) {
        CellBlock& cells = all[size_t(i)];
        const int64_t first = firsts[size_t(i)];
        image.look(kernels, cells.set, first, places, cells);
        cells.count = int(std::min<int64_t>(cells.count, image.cell_count(cells.set) - first));
    });
    for (const CellBlock& cells : all) {
        for (int c = 0; c < image.channels(); c++) {
            int &low = around.bounds.low[c], &high = around.bounds.high[c];
            for (int band = 0; band < kBands; band++) {
                for (int16_t value : cells.value[c][image.view(band).own]) {
                    low = std::min<int>(low, value);
                    high = std::max<int>(high, value);
                }
            }
        }
    }
    return around;
}

}  // namespace llicti::fitting
