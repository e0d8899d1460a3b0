// One tile: pixels to streams and back.
#include "tile.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "problem.hpp"

namespace llicti {
namespace {

constexpr int kSlice = 64;        // steps, a millisecond of work or so, after which to look for an interruption
constexpr int kTurn = 16;         // steps that a thread encodes at a time, few, so that all end at the same time
constexpr int64_t kAlone = 4096;  // pixels of a band that are not worth a second thread

int level_count(int height, int width) {
    int levels = 0;
    while (level_size(std::max(height, width), levels) > kMaxLowpass) levels++;
    return levels;
}

Geometry level_geometry(int height, int width, int level) {
    return {level_size(height, level + 1), level_size(width, level + 1)};
}

struct GroupRange {
    int first, count;
};

// The row groups of a level that `count` streams code.
GroupRange stream_groups(int groups, int streams, int stream, int count = 1) {
    const int first = int(int64_t(stream) * groups / streams);
    return {first, int(int64_t(stream + count) * groups / streams) - first};
}

// The stream of each row group of a level.
std::vector<int> group_streams(int groups, int streams) {
    std::vector<int> stream_of(static_cast<size_t>(groups));
    for (int stream = 0; stream < streams; stream++) {
        const GroupRange range = stream_groups(groups, streams, stream);
        std::fill_n(stream_of.begin() + range.first, range.count, stream);
    }
    return stream_of;
}

// Calls code(first stream, number of streams) for as many parts of the streams as there are threads, each of which is
// to be one wavefront.
template <class Code>
void for_each_part(int streams, ThreadPool& pool, bool light, Code code) {
    const int parts = light ? 1 : std::min(streams, pool.size());
    pool.run(parts, [&](int part) {
        const int first = part * streams / parts;
        code(first, (part + 1) * streams / parts - first);
    });
}

constexpr std::array<Bounds, 3> kNoBounds = {{{INT16_MAX, INT16_MIN}, {INT16_MAX, INT16_MIN}, {INT16_MAX, INT16_MIN}}};

Bounds either(const Bounds& a, const Bounds& b) { return {std::min(a.low, b.low), std::max(a.high, b.high)}; }

bool any_coded(const std::vector<Bounds>& bounds) {
    return std::any_of(bounds.begin(), bounds.end(), [](const Bounds& channel) { return channel.coded(); });
}

// Lanes whose states a stream stores: those that ever code a pixel, none where every channel is constant.
int stored_lanes(int height, int width, const std::vector<Bounds>& bounds, int stream) {
    if (!any_coded(bounds)) return 0;
    int most = 0;
    for (int level = level_count(height, width); level-- > 0;) {
        const Geometry geometry = level_geometry(height, width, level);
        const GroupRange groups = stream_groups(geometry.groups, stream_count(height), stream);
        if (groups.count) most = std::max(most, std::min(kLanes, geometry.rows - kLanes * groups.first));
    }
    return most;
}

// A kind of segments: of a level one network's, or the first kind's.
int segment_kind(int levels, int level, int network, int channels) {
    const int finer = std::min(levels, kCoarseLevel);
    return level >= kCoarseLevel ? 0 : 1 + (finer - 1 - level) * (channels == 1 ? 1 : 2) + network;
}

// A network, and which channels it codes.
struct PassPlan {
    int network, first_channel, channels;
};

PassPlan plan(int network) { return network == kLuma ? PassPlan{kLuma, 0, 1} : PassPlan{kChroma, 1, 2}; }

bool is_coded(const PassPlan& plan, const std::vector<Bounds>& bounds) {
    return std::any_of(&bounds[plan.first_channel], &bounds[plan.first_channel] + plan.channels,
                       [](const Bounds& channel) { return channel.coded(); });
}

Pass make_pass(const PassPlan& plan, const Band& band, const PackedNetwork& network, int level,
               const std::vector<Bounds>& bounds, const Planes& planes, bool deep) {
    const Geometry& geometry = planes.geometry();
    Pass pass{};
    pass.network = &network;
    pass.deep = deep;
    pass.bias_level = std::min(level, kBiasLevels - 1);
    pass.rows = planes.rows(band.phase);
    pass.columns = planes.columns(band.phase);
    pass.period = geometry.period;
    pass.slots = geometry.end();
    pass.channels = plan.channels;
    pass.bases = plan.network == kLuma ? 1 : 3;
    const auto source = [&](int channel, const Place& place) {
        return planes.plane(place.phase, channel) + (ptrdiff_t(kLaneDelay) * place.row + place.column) * kLaneStride +
               place.row;
    };
    for (int c = 0; c < pass.bases; c++) {
        for (size_t i = 0; i < 4; i++) pass.nearest[c][i] = source(c, band.neighbours[size_t(band.nearest[i])]);
        for (const Place& place : band.neighbours) {
            pass.base[pass.known] = uint8_t(c);
            pass.source[pass.known++] = source(c, place);
        }
    }
    for (size_t i = 0; plan.network == kChroma && i < band.more_luma.size(); i++) {
        pass.source[pass.known++] = source(0, band.more_luma[i]);
    }
    for (int c = 0; c < plan.channels; c++) {
        pass.bounds[c] = bounds[size_t(plan.first_channel + c)];
        pass.target[c] = planes.plane(band.phase, plan.first_channel + c);
    }
    return pass;
}

int coded_channels(const Pass& pass) {
    return int(std::count_if(pass.bounds, pass.bounds + pass.channels, [](const Bounds& c) { return c.coded(); }));
}

void put(std::vector<uint8_t>& bytes, uint32_t value, int count) {
    for (int i = 0; i < count; i++) bytes.push_back(uint8_t(value >> 8 * i));
}

// A stream while it is encoded, from its last symbol to its first.
struct StreamEncoder {
    uint32_t state[kLanes];
    std::vector<std::vector<std::vector<uint8_t>>> words;  // by kind of segment, parts of it, the last one first

    explicit StreamEncoder(size_t kinds) : words(kinds) { std::fill(state, state + kLanes, uint32_t(kStateMin)); }

    // Of a pass over row groups, those from `first` on are the stream's: their intervals become words of a segment.
    void code(const Kernels& kernels, const Pass& pass, GroupRange groups, const uint32_t* intervals, size_t kind) {
        const int coded = coded_channels(pass), start = groups.first * pass.period;
        const int steps = step_count(pass.period, pass.columns, groups.count);
        const size_t most = 2 * size_t(groups.count) * kLanes * size_t(pass.columns) * size_t(coded) + 16;
        const std::unique_ptr<uint8_t[]> memory(new uint8_t[most]);
        uint8_t *const end = memory.get() + most, *next = end;
        for (int step = steps; step-- > 0;) {
            const uint32_t lanes = lanes_begun(step) & ~lanes_begun(step - groups.count * pass.period);
            for (int c = coded; c-- > 0;) {
                next = kernels.put_on(intervals + (ptrdiff_t(start + step) * coded + c) * kLanes, lanes, state, next);
            }
        }
        words[kind].emplace_back(next, end);
    }

    std::vector<uint8_t> segment(size_t kind, int lanes) {
        std::vector<uint8_t> bytes;
        size_t size = kind == 0 ? 4 * size_t(lanes) : 0;
        for (const auto& part : words[kind]) size += part.size();
        bytes.reserve(size);
        for (int lane = 0; kind == 0 && lane < lanes; lane++) put(bytes, state[lane], 4);
        for (size_t i = words[kind].size(); i-- > 0;) {
            bytes.insert(bytes.end(), words[kind][i].begin(), words[kind][i].end());
        }
        words[kind] = {};
        return bytes;
    }
};

// Start reading a segment; a stream's first one begins with the states of `lanes` lanes, others with none.
void open_segment(StreamDecoder& decoder, const Bytes& segment, int lanes, bool first) {
    const size_t head = first ? size_t(lanes) * 4 : 0;
    if (segment.size < head || (segment.size - head) % 2) {
        throw FormatProblem("a stream's segment has an impossible length");
    }
    decoder.words = segment.data + head;
    decoder.end = segment.data + segment.size;
    if (!first) return;
    std::fill(decoder.state, decoder.state + kLanes, uint32_t(kStateMin));
    for (int lane = 0; lane < lanes; lane++) {
        const uint8_t* b = segment.data + 4 * lane;
        decoder.state[lane] = uint32_t(b[0]) | uint32_t(b[1]) << 8 | uint32_t(b[2]) << 16 | uint32_t(b[3]) << 24;
        if (decoder.state[lane] < uint32_t(kStateMin)) throw FormatProblem("a stream starts in a state below 65536");
    }
}

void close_segment(const StreamDecoder& decoder, bool last) {
    const bool closed = !last || std::all_of(decoder.state, decoder.state + kLanes,
                                             [](uint32_t x) { return x == uint32_t(kStateMin); });
    if (decoder.words != decoder.end || !closed) {
        throw FormatProblem("a stream's segment does not end where its level does");
    }
}

// The wavefront of all row groups of a level, about to take `step`.
Wavefront wavefront_at(const Pass& pass, int groups, const int* stream, int step) {
    Wavefront front{0, groups, stream};
    front.step = step - 1;
    for (int lane = 0; lane < kLanes; lane++) {
        const int since = front.step - kLaneDelay * lane;
        if (since < 0) break;
        const int group = since / pass.period, column = since % pass.period;
        if (group >= groups || column >= pass.columns || group * kLanes + lane >= pass.rows) continue;
        front.active |= uint32_t(1) << lane;
        if (column == 0) front.first |= uint32_t(1) << lane;
    }
    return front;
}

// Calls visit(y) for every row of `height`, a run of rows a thread.
template <class Visit>
void for_each_row(int height, int width, ThreadPool& pool, Visit visit) {
    const int parts = pool.size();
    const auto visit_part = [&](int part) {
        const int stop = int(int64_t(part + 1) * height / parts);
        for (int y = int(int64_t(part) * height / parts); y < stop; y++) visit(y);
    };
    pool.run(parts, visit_part, int64_t(height) * width < 32768);
}

// Fills a row group of all phases of a level, and `coarser` with every other pixel of every other row of it.
// read(y, row) tells where row y of each channel is.
template <class Read>
void fill_group(const Planes& planes, int group, const Raster& coarser, Read read) {
    for (int odd = 0; odd < 2; odd++) {
        const int count = planes.rows(odd ? 3 : 0);  // phase 10 or 00
        if (!count) continue;
        planes.for_each_lane(group, count, [&](int lane, int y) {
            const int16_t* row[3];
            read(2 * y + odd, row);
            const bool is_margin = y != group * kLanes + lane || lane < 0 || lane >= kLanes;
            for (int c = 0; c < coarser.channels; c++) {
                for (int phase = 0; phase < kPhases; phase++) {
                    if (kPhaseRow[phase] != odd || planes.empty(phase)) continue;
                    planes.put_row(phase, c, group, lane, row[c] + kPhaseColumn[phase], 2);
                }
                if (odd || is_margin) continue;
                int16_t* const to = coarser.row(c, y);
                for (int x = 0; x < coarser.width; x++) to[x] = row[c][2 * x];
            }
        });
    }
}

// Fills the finest level's planes, and `coarser`. Returns the bounds of the channels.
std::vector<Bounds> fill_finest(const Pixels& pixels, const Planes& planes, const Raster& coarser,
                                const Kernels& kernels, ThreadPool& pool) {
    const int channels = pixels.channels, width = pixels.width;
    std::vector<std::array<Bounds, 3>> found(size_t(planes.geometry().groups), kNoBounds);
    pool.run(planes.geometry().groups, [&](int group) {
        const std::unique_ptr<int16_t[]> memory(new int16_t[size_t(width) * size_t(channels)]);
        fill_group(planes, group, coarser, [&](int y, const int16_t** row) {
            int16_t* to[3];
            for (int c = 0; c < channels; c++) row[c] = to[c] = &memory[size_t(width) * size_t(c)];
            read_row(kernels, pixels, y, 0, width, to);
            for (int c = 0; c < channels; c++) {
                Bounds& bounds = found[size_t(group)][size_t(c)];
                int16_t low = INT16_MAX, high = INT16_MIN;
                for (int x = 0; x < width; x++) {
                    low = std::min(low, to[c][x]);
                    high = std::max(high, to[c][x]);
                }
                bounds = either(bounds, {low, high});
            }
        });
    });
    std::vector<Bounds> bounds(kNoBounds.begin(), kNoBounds.begin() + channels);
    for (const auto& of_group : found) {
        for (size_t c = 0; c < bounds.size(); c++) bounds[c] = either(bounds[c], of_group[c]);
    }
    return bounds;
}

}  // namespace

int stream_count(int height) {
    return std::max(1, (level_geometry(height, 1, 0).groups + kGroupsPerStream - 1) / kGroupsPerStream);
}

CodedTile<std::vector<uint8_t>> TileCoder::encode(const Pixels& pixels, ThreadPool& pool) const {
    const int height = pixels.height, width = pixels.width, channels = pixels.channels;
    Planes planes(level_geometry(height, width, 0), channels);
    planes.reset(level_geometry(height, width, 0), height, width);
    Raster coarser((height + 1) / 2, (width + 1) / 2, channels);
    CodedTile<std::vector<uint8_t>> coded{fill_finest(pixels, planes, coarser, kernels, pool), {}};
    const int levels = level_count(height, width), streams = stream_count(height);
    const int networks_used = channels == 1 ? 1 : 2;
    const size_t kinds = size_t(1 + std::min(levels, kCoarseLevel) * networks_used);
    std::vector<StreamEncoder> encoders(static_cast<size_t>(streams), StreamEncoder(kinds));
    if (levels && any_coded(coded.bounds)) {
        std::vector<uint32_t> intervals;  // of a pass
        // From the last level to the first, since that is how rANS encodes.
        for (int level = 0; level < levels; level++) {
            if (level) {
                planes.reset(level_geometry(height, width, level), coarser.height, coarser.width);
                const Raster raster = std::move(coarser);
                coarser = Raster((raster.height + 1) / 2, (raster.width + 1) / 2, channels);
                pool.run(planes.geometry().groups, [&](int group) {
                    fill_group(planes, group, coarser, [&](int y, const int16_t** row) {
                        for (int c = 0; c < channels; c++) row[c] = raster.row(c, y);
                    });
                });
            }
            const Geometry& geometry = planes.geometry();
            const std::vector<int> stream_of = group_streams(geometry.groups, streams);
            const int steps = step_count(geometry.period, geometry.columns, geometry.groups);
            const bool light = int64_t(geometry.rows) * geometry.columns < kAlone;
            intervals.resize(std::max(intervals.size(), size_t(steps) * kLanes * (channels == 1 ? 1 : 2)));
            for (int network = networks_used; network-- > 0;) {
                const PassPlan passes = plan(network);
                if (!is_coded(passes, coded.bounds)) continue;
                const auto kind = size_t(segment_kind(levels, level, network, channels));
                for (int b = kBands; b-- > 0;) {
                    const Band& band = model.bands[size_t(b)];
                    if (planes.empty(band.phase)) continue;
                    const Pass pass = make_pass(passes, band, networks[size_t(network)][size_t(b)], level, coded.bounds,
                                                planes, pixels.deep);
                    // All values are known, so that any thread can begin anywhere.
                    const auto code_turn = [&](int turn) {
                        Wavefront front = wavefront_at(pass, geometry.groups, stream_of.data(), turn * kTurn);
                        kernels.encode(pass, front, kTurn, intervals.data());
                    };
                    pool.run((steps + kTurn - 1) / kTurn, code_turn, light);
                    const auto code_stream = [&](int stream) {
                        const GroupRange own = stream_groups(geometry.groups, streams, stream);
                        if (own.count) encoders[size_t(stream)].code(kernels, pass, own, intervals.data(), kind);
                    };
                    pool.run(streams, code_stream, light);
                }
            }
        }
    }
    coded.segments.resize(kinds);
    for (size_t kind = 0; kind < kinds; kind++) {
        for (int stream = 0; stream < streams; stream++) {
            coded.segments[kind].push_back(
                encoders[size_t(stream)].segment(kind, stored_lanes(height, width, coded.bounds, stream)));
        }
    }
    return coded;
}

void TileCoder::decode(const CodedTile<Bytes>& tile, const Pixels& lowpass, const TileRect& place, int view,
                       const Pixels& pixels, ThreadPool& pool) const {
    const int levels = level_count(place.height, place.width), streams = stream_count(place.height);
    const int channels = pixels.channels;
    const int finest = std::min(levels, std::min(view, +kCoarseLevel));
    std::vector<StreamDecoder> decoders(static_cast<size_t>(streams));
    if (tile.bounds.size() != size_t(channels) || lowpass.channels != channels || lowpass.deep != pixels.deep ||
        lowpass.height != level_size(place.height, levels) || lowpass.width != level_size(place.width, levels)) {
        throw std::invalid_argument("bounds and lowpass are not those of the tile");
    }
    const auto open = [&](int kind) {
        if (tile.segments.size() <= size_t(kind) || tile.segments[size_t(kind)].size() != size_t(streams)) {
            throw std::invalid_argument("a tile lacks segments");
        }
        for (int stream = 0; stream < streams; stream++) {
            const int lanes = kind ? 0 : stored_lanes(place.height, place.width, tile.bounds, stream);
            open_segment(decoders[size_t(stream)], tile.segments[size_t(kind)][size_t(stream)], lanes, !kind);
        }
    };
    const auto close = [&](bool last) {
        for (const StreamDecoder& decoder : decoders) close_segment(decoder, last);
    };

    // The pixels known so far.
    Raster raster(lowpass.height, lowpass.width, channels);
    for (int y = 0; y < lowpass.height; y++) {
        int16_t* rows[3];
        for (int c = 0; c < channels; c++) rows[c] = raster.row(c, y);
        read_row(kernels, lowpass, y, 0, lowpass.width, rows);
    }
    open(0);
    if (levels <= kCoarseLevel) close(!levels);
    Planes planes(finest < levels ? level_geometry(place.height, place.width, finest) : Geometry(1, 1), channels);
    for (int level = levels; level-- > finest;) {
        planes.reset(level_geometry(place.height, place.width, level), level_size(place.height, level),
                     level_size(place.width, level));
        const Geometry& geometry = planes.geometry();
        const bool light = int64_t(geometry.rows) * geometry.columns < kAlone;
        const auto fill = [&](int task) {
            const int group = task / channels, c = task % channels;
            planes.for_each_lane(group, geometry.rows,
                                 [&](int lane, int y) { planes.put_row(0, c, group, lane, raster.row(c, y), 1); });
        };
        pool.run(geometry.groups * channels, fill, light);
        for (int c = 0; c < channels; c++) {
            if (tile.bounds[size_t(c)].coded()) continue;
            for (const Band& band : model.bands) {
                if (planes.empty(band.phase)) continue;
                int16_t* first = planes.plane(band.phase, c) - kOrigin;
                std::fill_n(first, geometry.plane_size(), int16_t(tile.bounds[size_t(c)].low));
            }
        }
        const std::vector<int> stream_of = group_streams(geometry.groups, streams);
        for (int network = 0; network < (channels == 1 ? 1 : 2); network++) {
            const PassPlan passes = plan(network);
            if (level < kCoarseLevel) open(segment_kind(levels, level, network, channels));
            for (int b = 0; b < kBands && is_coded(passes, tile.bounds); b++) {
                const Band& band = model.bands[size_t(b)];
                if (planes.empty(band.phase)) continue;
                const Pass pass = make_pass(passes, band, networks[size_t(network)][size_t(b)], level, tile.bounds,
                                            planes, pixels.deep);
                for_each_part(streams, pool, light, [&](int first_stream, int count) {
                    const GroupRange range = stream_groups(geometry.groups, streams, first_stream, count);
                    if (!range.count) return;
                    Wavefront front{range.first, range.count, stream_of.data()};
                    while (!front.done) {
                        pool.check_interruption();
                        if (!kernels.decode(pass, front, kSlice, decoders.data())) {
                            throw FormatProblem("a stream's segment ends before its level does");
                        }
                    }
                    for (int c = 0; c < passes.channels; c++) {
                        if (!pass.bounds[c].coded()) continue;
                        planes.fill_margins(band.phase, passes.first_channel + c, range.first, range.count);
                    }
                });
            }
            const bool last_network = network == (channels == 1 ? 0 : 1);
            if (level < kCoarseLevel || (level == kCoarseLevel && last_network)) close(!level && last_network);
        }
        Raster whole(level_size(place.height, level), level_size(place.width, level), channels);
        for_each_row(geometry.rows, 2 * geometry.columns, pool, [&](int y) {
            for (int c = 0; c < channels; c++) {
                const int16_t* known = raster.row(c, y);
                int16_t* row = whole.row(c, 2 * y);
                for (int x = 0; x < raster.width; x++) row[2 * x] = known[x];
                if (!planes.empty(2)) planes.get_row(2, c, y, row + 1, 2);
                if (y >= planes.rows(3)) continue;
                row = whole.row(c, 2 * y + 1);
                planes.get_row(3, c, y, row, 2);
                if (!planes.empty(1)) planes.get_row(1, c, y, row + 1, 2);
            }
        });
        raster = std::move(whole);
    }

    // Every scale-th of the pixels known, as far as it lies within `pixels`.
    const int scale = 1 << (view - finest);
    const int top = std::max(0, -place.y), left = std::max(0, -place.x);
    const int bottom = std::min((raster.height + scale - 1) / scale, pixels.height - place.y);
    const int right = std::min((raster.width + scale - 1) / scale, pixels.width - place.x);
    if (left >= right || top >= bottom) return;
    for_each_row(bottom - top, right - left, pool, [&](int i) {
        const int y = top + i;
        const int16_t* rows[3];
        std::vector<int16_t> chosen;
        for (int c = 0; c < channels; c++) rows[c] = raster.row(c, y * scale) + left;
        if (scale > 1) {
            chosen.resize(size_t(right - left) * size_t(channels));
            for (int c = 0; c < channels; c++) {
                int16_t* out = &chosen[size_t(right - left) * size_t(c)];
                for (int x = left; x < right; x++) out[x - left] = raster.row(c, y * scale)[x * scale];
                rows[c] = out;
            }
        }
        write_row(kernels, rows, pixels, place.y + y, place.x + left, right - left);
    });
}

}  // namespace llicti
