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

// At which edges the group is.
uint8_t edges(const LevelView& level, int row, int column) {
    const auto if_so = [](bool holds, Patch::Edge edge) { return holds ? int(edge) : 0; };
    return uint8_t(if_so(row == 0, Patch::kFirstRow) | if_so(column == 0, Patch::kFirstColumn) |
                   if_so(column == 1, Patch::kSecondColumn) | if_so(2 * column + 2 >= level.width, Patch::kLastColumn) |
                   if_so(2 * column + 3 >= level.width, Patch::kLastOddColumn) |
                   if_so(2 * row + 1 >= level.height, Patch::kNoOddRow) |
                   if_so(2 * column + 1 >= level.width, Patch::kNoOddColumn));
}

// At which edges a group has no pixel so far from its own.
uint8_t edges_without(Offset back, bool odd_column) {
    uint8_t edges = back.row < 0 ? Patch::kFirstRow : 0;
    if (back.column < 0) edges |= Patch::kFirstColumn;
    if (back.column < -2) edges |= Patch::kSecondColumn;
    if (back.column > 0) edges |= odd_column ? Patch::kLastOddColumn : Patch::kLastColumn;
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

Sample::Sample(const std::vector<Pixels>& tiles, const Model& model) : samples_{tiles[0].channels, tiles[0].deep} {
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
        view.missing = uint8_t((own.row ? Patch::kNoOddRow : 0) | (own.column ? Patch::kNoOddColumn : 0));
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
            set.groups += int64_t((level.height + 1) / 2) * ((level.width + 1) / 2);
            set.ends.push_back(set.groups);
            for (size_t b = 0; b < kBands; b++) {
                const int phase = model.bands[b].phase;
                set.pixels[b] +=
                    int64_t((level.height + 1 - kPhaseRow[phase]) / 2) * ((level.width + 1 - kPhaseColumn[phase]) / 2);
            }
        }
    }
    for (Set& set : sets_) {
        set.stride = std::max<int64_t>(1, int64_t(double(set.groups) * 0.6180339887));
        while (std::gcd(set.stride, set.groups) > 1) set.stride++;
    }
}

int Sample::place(Offset offset) {
    for (size_t i = 0; i < places_.size(); i++) {
        if (places_[i].row == offset.row && places_[i].column == offset.column) return int(i);
    }
    if (places_.size() == kMostPlaces || std::max(std::abs(offset.row), std::abs(offset.column)) > kReach) {
        throw std::logic_error("networks see more than a search can look at");
    }
    places_.push_back(offset);
    return int(places_.size()) - 1;
}

std::vector<int> Sample::seen(int band, bool chroma) const {
    const BandView& view = views_[size_t(band)];
    std::vector<int> seen{view.own};
    seen.insert(seen.end(), view.known.begin(), view.known.end());
    if (chroma) seen.insert(seen.end(), view.more.begin(), view.more.end());
    seen.insert(seen.end(), std::begin(view.back), std::end(view.back));
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    return seen;
}

std::vector<int> Sample::all_places() const {
    std::vector<int> all(places_.size());
    std::iota(all.begin(), all.end(), 0);
    return all;
}

void Sample::look(const FitKernels& kernels, int set, int64_t first, const std::vector<int>& wanted,
                  Patch& patch) const {
    const Set& from = sets_[set];
    const int count = int(std::min<int64_t>(kContexts, from.groups));
    Spot spots[kContexts];
    for (int i = 0; i < kContexts; i++) {
        const int64_t at = (first + (i < count ? i : 0)) % from.groups * from.stride % from.groups;
        const size_t part = size_t(std::upper_bound(from.ends.begin(), from.ends.end(), at) - from.ends.begin());
        const LevelView& level = from.levels[part];
        const int64_t group = at - (part ? from.ends[part - 1] : 0);
        const int columns = (level.width + 1) / 2;
        spots[i] = {&level, int(group / columns), int(group % columns)};
    }
    look_at(kernels, set, count, spots, wanted, patch);
}

void Sample::look_at(const FitKernels& kernels, int set, int count, const Spot (&spots)[kContexts],
                     const std::vector<int>& wanted, Patch& patch) const {
    patch.set = set;
    patch.count = count;
    for (int i = 0; i < kContexts; i++) {
        patch.level[i] = spots[i].level->number;
        patch.edge[i] = edges(*spots[i].level, spots[i].row, spots[i].column);
    }
    kernels.look(samples_, spots, places_, wanted, patch);
}

int set_of_block(const Sample& sample, int block) { return block % 4 == 3 && sample.groups(1) ? 1 : 0; }

Patches look_around(const Sample& sample, const FitKernels& kernels, int fitted, int judging, ThreadPool& pool) {
    std::vector<int64_t> firsts;
    Patches around{{}, 0, 0, {{SHRT_MAX, SHRT_MAX, SHRT_MAX}, {SHRT_MIN, SHRT_MIN, SHRT_MIN}}};
    std::vector<Patch>& all = around.all;
    all.reserve(size_t(fitted + judging));
    int64_t next[kSets] = {};
    for (int i = 0; i < fitted + judging; i++) {
        const int set = set_of_block(sample, i);
        if (next[set] < sample.groups(set)) {
            all.emplace_back().set = set;
            firsts.push_back(next[set]);
        }
        next[set] += kContexts;
        if (i + 1 == fitted) around.fitted = all.size();
    }
    if (around.fitted < all.size()) around.first_judging = around.fitted;
    const std::vector<int> places = sample.all_places();
    pool.run(int(all.size()), [&](int i) {
        Patch& patch = all[size_t(i)];
        const int64_t first = firsts[size_t(i)];
        sample.look(kernels, patch.set, first, places, patch);
        patch.count = int(std::min<int64_t>(patch.count, sample.groups(patch.set) - first));
    });
    for (const Patch& patch : all) {
        for (int c = 0; c < sample.channels(); c++) {
            int &low = around.bounds.low[c], &high = around.bounds.high[c];
            for (int band = 0; band < kBands; band++) {
                for (int16_t value : patch.value[c][sample.view(band).own]) {
                    low = std::min<int>(low, value);
                    high = std::max<int>(high, value);
                }
            }
        }
    }
    return around;
}

}  // namespace llicti::fitting
