// One tile: pixels to streams and back, through the pyramid (docs/format.md, clauses 3, 4 and 7).
#include "tile.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace llicti {
namespace {

constexpr int64_t kAlone = 192;   // a band of fewer pixels is not worth a thread
constexpr int64_t kSlice = 4096;  // pixels, some milliseconds of work, after which to look for an interruption
static_assert(kSlice % kLanes == 0, "a slice ends where a lane batch does");

struct Run {
    int64_t start, stop;
};

Run stream_run(int64_t pixels, int streams, int stream) {
    return {stream * pixels / streams, (stream + 1) * pixels / streams};
}

// Calls code(start, stop) for the slices of a run until it returns false, or an interruption ends all; returns what the
// last one did.
template <class Code>
bool for_each_slice(const Run& run, ThreadPool& pool, Code code) {
    for (int64_t start = run.start; start < run.stop; start += kSlice) {
        pool.check_interruption();
        if (!code(start, std::min(run.stop, start + kSlice))) return false;
    }
    return true;
}

bool any_coded(const std::vector<Bounds>& bounds) {
    return std::any_of(bounds.begin(), bounds.end(), [](const Bounds& bounds) { return bounds.coded(); });
}

// Lanes whose states a stream stores: as many as its longest run has pixels, none where every channel is constant.
int stored_lanes(int height, int width, const Model& model, const std::vector<Bounds>& bounds, int streams,
                 int stream) {
    if (!any_coded(bounds)) return 0;
    int64_t longest = 0;
    for (int s = 0; s < kLevels; s++, height = (height + 1) / 2, width = (width + 1) / 2) {
        for (const Band& band : model.bands) {
            const int64_t pixels =
                int64_t((height + 1 - kPhaseRow[band.phase]) / 2) * ((width + 1 - kPhaseColumn[band.phase]) / 2);
            const Run run = stream_run(pixels, streams, stream);
            longest = std::max(longest, run.stop - run.start);
        }
    }
    return int(std::min<int64_t>(longest, kLanes));
}

void put(std::vector<uint8_t>& bytes, uint32_t value, int count) {
    for (int i = 0; i < count; i++) bytes.push_back(uint8_t(value >> 8 * i));
}

// A stream's segments, from its intervals up to `ends` of each level, coarsest first.
std::vector<std::vector<uint8_t>> encode_stream(const std::vector<uint32_t>& intervals, const std::vector<size_t>& ends,
                                                int lanes) {
    uint32_t state[kLanes];
    std::fill(state, state + kLanes, uint32_t(kStateMin));
    std::vector<std::vector<uint8_t>> segments(ends.size());
    std::vector<uint16_t> words;
    for (size_t s = ends.size(); s-- > 0;) {
        words.clear();
        for (size_t i = ends[s], first = s ? ends[s - 1] : 0; i-- > first;) {
            const uint32_t cdf_low = intervals[i] & 0xFFFF, frequency = intervals[i] >> 16;
            if (!frequency) continue;  // a lane past the end of its run
            uint32_t& x = state[i % kLanes];
            if (x >> 16 >= frequency) {
                words.push_back(uint16_t(x));
                x >>= 16;
            }
            x = (x / frequency << 16) + x % frequency + cdf_low;
        }
        if (s == 0) {
            for (int lane = 0; lane < lanes; lane++) put(segments[0], state[lane], 4);
        }
        segments[s].reserve(segments[s].size() + 2 * words.size());
        for (size_t i = words.size(); i-- > 0;) put(segments[s], words[i], 2);
    }
    return segments;
}

// A constant band needs no network.
void fill(Image& phase, const std::vector<Bounds>& bounds) {
    for (size_t c = 0; c < phase.size(); c++) {
        for (int y = 0; y < phase[c].height(); y++) {
            std::fill_n(phase[c].row(y), phase[c].width(), int16_t(bounds[c].low));
        }
    }
}

// Start reading a segment; a stream's first one begins with the states of `lanes` lanes, others with none.
std::string open_segment(StreamDecoder& decoder, const Bytes& segment, int lanes, bool first) {
    const size_t head = size_t(lanes) * 4;
    if (segment.size < head || (segment.size - head) % 2) return "a stream's segment has an impossible length";
    decoder.words = segment.data + head;
    decoder.end = segment.data + segment.size;
    if (!first) return "";
    std::fill(decoder.state, decoder.state + kLanes, uint32_t(kStateMin));
    for (int lane = 0; lane < lanes; lane++) {
        const uint8_t* b = segment.data + 4 * lane;
        decoder.state[lane] = uint32_t(b[0]) | uint32_t(b[1]) << 8 | uint32_t(b[2]) << 16 | uint32_t(b[3]) << 24;
        if (decoder.state[lane] < uint32_t(kStateMin)) return "a stream starts in a state below 65536";
    }
    return "";
}

bool closed(const StreamDecoder& decoder, bool last) {
    if (decoder.words != decoder.end) return false;
    return !last ||
           std::all_of(decoder.state, decoder.state + kLanes, [](uint32_t x) { return x == uint32_t(kStateMin); });
}

}  // namespace

CodedTile<std::vector<uint8_t>> TileCoder::encode(const Pixels& pixels, int streams, ThreadPool& pool) const {
    Image image = read_pixels(pixels, pool);
    CodedTile<std::vector<uint8_t>> coded{find_bounds(image, pool), {}};
    std::vector<Level> levels = build_pyramid(image, pool);
    image.clear();
    const size_t coded_channels =
        std::count_if(coded.bounds.begin(), coded.bounds.end(), [](const Bounds& bounds) { return bounds.coded(); });
    std::vector<std::vector<std::vector<uint8_t>>> by_stream(streams);
    pool.run(streams, [&](int stream) {
        std::vector<uint32_t> intervals;
        std::vector<size_t> ends;
        for (int s = kLevels; s-- > 0;) {
            for (const Band& band : model.bands) {
                const Run run = stream_run(band_pixels(levels[s], band), streams, stream);
                if (run.start == run.stop || !coded_channels) continue;
                const size_t used = intervals.size();
                const size_t batches = size_t(run.stop - run.start + kLanes - 1) / kLanes;
                intervals.resize(used + batches * kLanes * coded_channels);
                uint32_t* next = &intervals[used];
                const BandContext context = band_context(model, adaptation, band, s, levels[s], coded.bounds);
                for_each_slice(run, pool, [&](int64_t start, int64_t stop) {
                    next = kernels.encode(context, start, stop, next);
                    return true;
                });
            }
            ends.push_back(intervals.size());
        }
        by_stream[stream] = encode_stream(
            intervals, ends, stored_lanes(pixels.height, pixels.width, model, coded.bounds, streams, stream));
    });
    coded.segments.resize(kLevels);
    for (int s = 0; s < kLevels; s++) {
        for (auto& segments : by_stream) coded.segments[s].push_back(std::move(segments[s]));
    }
    return coded;
}

std::string TileCoder::decode(const CodedTile<Bytes>& tile, const Pixels& lowpass, const TileRect& place, int finest,
                              const Pixels& pixels, ThreadPool& pool) const {
    std::vector<StreamDecoder> decoders(place.streams);
    Image image = read_pixels(lowpass, pool);
    for (int s = kLevels; s-- > finest;) {
        for (int i = 0; i < place.streams; i++) {
            const bool first = s == kLevels - 1;
            const int lanes = first ? stored_lanes(place.height, place.width, model, tile.bounds, place.streams, i) : 0;
            const std::string problem = open_segment(decoders[i], tile.segments[kLevels - 1 - s][i], lanes, first);
            if (!problem.empty()) return problem;
        }
        const int height = int((int64_t(place.height) + (1 << s) - 1) >> s);
        const int width = int((int64_t(place.width) + (1 << s) - 1) >> s);
        Level level(height, width, pixels.channels, 1);
        level.phase[0] = std::move(image);
        level.fill_margin(0);
        for (const Band& band : model.bands) {
            const int64_t count = band_pixels(level, band);
            if (!count) continue;
            if (!any_coded(tile.bounds)) {
                fill(level.phase[band.phase], tile.bounds);
                continue;
            }
            const BandContext context = band_context(model, adaptation, band, s, level, tile.bounds);
            std::atomic<bool> whole{true};
            const auto decode_run = [&](int stream) {
                const auto decode_slice = [&](int64_t start, int64_t stop) {
                    return kernels.decode(context, start, stop, decoders[stream]);
                };
                if (!for_each_slice(stream_run(count, place.streams, stream), pool, decode_slice)) whole = false;
            };
            pool.run(place.streams, decode_run, count < kAlone);
            if (!whole) return "a stream's segment ends before its level does";
            level.fill_margin(band.phase);
        }
        for (const StreamDecoder& decoder : decoders) {
            if (!closed(decoder, s == 0)) return "a stream's segment does not end where its level does";
        }
        image = new_image(height, width, pixels.channels);
        for_each_pair(image, level, pool, [](int16_t& whole, int16_t& part) { whole = part; });
    }
    write_pixels(image, place.y, place.x, pixels, pool);
    return "";
}

}  // namespace llicti
