// Python bindings: packs models, and codes lists of tiles without the interpreter's lock.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include "chunk.hpp"
#include "fit.hpp"
#include "processor.hpp"
#include "team.hpp"
#include "tile.hpp"

namespace nb = nanobind;
using namespace llicti;

namespace {

using Int8Array = nb::ndarray<const int8_t, nb::c_contig, nb::device::cpu>;
using Int16Array = nb::ndarray<const int16_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Int32Array = nb::ndarray<const int32_t, nb::c_contig, nb::device::cpu>;
using FloatArray = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using PixelArray = nb::ndarray<uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using ConstPixelArray = nb::ndarray<const uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

// weight [out, in], bias [out] or [scales, out], multiplier [out].
Layer pack_layer(const Int8Array& weight, const Int32Array& bias, const Int32Array& multiplier) {
    const int out = int(weight.shape(0)), in = int(weight.shape(1));
    if (out > kMaxWidth) throw std::invalid_argument("the model is too wide");
    return Layer(in, out, bias.ndim() == 2 ? kScales : 1, weight.data(), bias.data(), multiplier.data());
}

class PackedModel {
public:
    // tables: CDF_TAIL, SCALE_MANTISSA, WEIGHT_EXP. bands: (phase, neighbours of (phase, dy, dx), nearest, layers of
    // (weight, bias, multiplier)).
    PackedModel(const std::vector<std::vector<int>>& tables, const nb::list& bands) {
        for (int j = 0; j < 64; j++) {
            model_.tables.tail[j] = uint16_t(tables[0][j]);
            model_.tables.tail_delta[j] = uint16_t((tables[0][j] - tables[0][j + 1]) << 4);
            model_.tables.tail_and_delta[j] = model_.tables.tail[j] | uint32_t(model_.tables.tail_delta[j]) << 16;
        }
        for (int r = 0; r < 8; r++) model_.tables.mantissa[r] = uint16_t(tables[1][r] << 4);
        std::copy_n(tables[2].begin(), kWeightExp, model_.tables.weight_exp.begin());
        for (int sum = kLeastShareSum; sum <= kMaxShareSum; sum++) {
            model_.tables.reciprocal.push_back(((1 << 27) - 1) / sum);
        }
        for (size_t b = 0; b < model_.bands.size(); b++) pack_band(nb::cast<nb::tuple>(bands[b]), model_.bands[b]);
    }

    const Model& model() const { return model_; }

private:
    static void pack_band(const nb::tuple& packed, Band& band) {
        band.phase = nb::cast<int>(packed[0]);
        for (const auto& neighbour : nb::cast<std::vector<std::vector<int>>>(packed[1])) {
            band.neighbours.push_back({neighbour[0], neighbour[1], neighbour[2]});
        }
        const auto nearest = nb::cast<std::vector<int>>(packed[2]);
        std::copy_n(nearest.begin(), 4, band.nearest.begin());
        for (nb::handle item : nb::cast<nb::list>(packed[3])) {
            const auto layer = nb::cast<nb::tuple>(item);
            band.layers.push_back(pack_layer(nb::cast<Int8Array>(layer[0]), nb::cast<Int32Array>(layer[1]),
                                             nb::cast<Int32Array>(layer[2])));
        }
    }

    Model model_;
};

struct Tile {
    int y, x, height, width, streams;
};

std::vector<Tile> cast_tiles(const nb::list& tiles) {
    std::vector<Tile> out;
    for (nb::handle tile : tiles) {
        const auto v = nb::cast<std::vector<int>>(tile);
        out.push_back({v[0], v[1], v[2], v[3], v[4]});
    }
    return out;
}

Pixels tile_pixels(uint8_t* data, const size_t (&shape)[3], const Tile& tile) {
    const ptrdiff_t stride = ptrdiff_t(shape[1] * shape[2]);
    return {data + tile.y * stride + ptrdiff_t(tile.x) * ptrdiff_t(shape[2]), stride, tile.height, tile.width,
            int(shape[2])};
}

// Calls code(tile, team) for every tile: whole tiles side by side while there are enough of them, and the rest one
// after the other with their streams side by side. No more threads are started than there is work for.
template <class Code>
void for_each_tile(const std::vector<Tile>& tiles, int threads, Code code) {
    const int count = int(tiles.size());
    int useful = count;
    for (const Tile& tile : tiles) useful = std::max(useful, tile.streams);
    useful = std::min(useful, threads);
    Team team(useful), alone(1);
    const int together = count / useful * useful;
    team.run(together, [&](int i) { code(i, alone); });
    for (int i = together; i < count; i++) code(i, team);
}

// plan: scales, samples, batch, steps. Returns int8 corrections by scale, band, (gain, bias) and output, as bytes.
// (outputs, hidden), as Corrections of the Python side has them.
StoredCorrections cast_corrections(const nb::tuple& pair) {
    const auto numbers = [&](int i) {
        const auto bytes = nb::cast<nb::bytes>(pair[i]);
        const auto* first = static_cast<const int8_t*>(bytes.data());
        return std::vector<int8_t>(first, first + bytes.size());
    };
    return {numbers(0), numbers(1)};
}

nb::tuple fit(const ConstPixelArray& pixels, const nb::list& tile_list, const PackedModel& packed,
              const std::vector<int>& plan, int threads, const std::string& isa) {
    const Kernels& kernels = find_kernels(isa);
    const size_t shape[3] = {pixels.shape(0), pixels.shape(1), pixels.shape(2)};
    std::vector<Pixels> tiles;
    for (const Tile& tile : cast_tiles(tile_list)) {
        tiles.push_back(tile_pixels(const_cast<uint8_t*>(pixels.data()), shape, tile));
    }
    StoredCorrections stored;
    {
        nb::gil_scoped_release released;
        Team team(std::min(threads, 3 * plan[0]));  // a task for each band of each scale
        stored = fit_corrections(tiles, packed.model(), kernels, {plan[0], plan[1], plan[2], plan[3]}, team);
    }
    return nb::make_tuple(nb::bytes(stored.outputs.data(), stored.outputs.size()),
                          nb::bytes(stored.hidden.data(), stored.hidden.size()));
}

// Bits of sampled activations int16 [channels, n] of a band, in 1 / 2**kHiddenFraction, and residuals [3, n],
// n a multiple of kChunk; and their slopes by gain, bias and hidden bias; so that tests can compare them with automatic
// differentiation. The model's width must be a multiple of 16.
nb::tuple estimate(const PackedModel& packed, int band, const Int16Array& activations, const FloatArray& residuals,
                   const std::vector<std::vector<int>>& ranges, const std::vector<float>& gain,
                   const std::vector<float>& bias, const std::vector<float>& hidden, const std::string& isa) {
    const size_t count = residuals.shape(1);
    std::vector<SampleChunk> chunks(count / kChunk);
    for (size_t i = 0; i < chunks.size() * kChunk; i++) {
        SampleChunk& chunk = chunks[i / kChunk];
        chunk.hidden.resize(hidden.size() * kChunk);
        for (size_t k = 0; k < hidden.size(); k++) {
            chunk.hidden[k * kChunk + i % kChunk] = activations.data()[k * count + i];
        }
        for (size_t c = 0; c < 3; c++) chunk.residual[c][i % kChunk] = residuals.data()[c * count + i];
    }
    std::vector<Range> channels;
    for (const auto& range : ranges) channels.push_back({range[0], range[1]});
    Fit fit, slope;
    std::copy(gain.begin(), gain.end(), fit.gain.begin());
    std::copy(bias.begin(), bias.end(), fit.bias.begin());
    fit.hidden = hidden;
    const OutputLayer layer(packed.model().bands[band].layers.back());
    const auto run = [&](Fit* slopes) {
        return find_kernels(isa).estimate(chunks.data(), int(chunks.size()), layer, channels.data(),
                                          int(channels.size()), fit, slopes);
    };
    run(&slope);
    const auto list = [](const auto& numbers) { return std::vector<float>(numbers.begin(), numbers.end()); };
    return nb::make_tuple(run(nullptr), list(slope.gain), list(slope.bias), slope.hidden);
}

nb::list encode(const ConstPixelArray& pixels, const nb::list& tile_list, const nb::tuple& stored,
                const PackedModel& packed, int threads, const std::string& isa) {
    const Kernels& kernels = find_kernels(isa);
    const Corrections corrections = unpack_corrections(cast_corrections(stored), packed.model());
    const std::vector<Tile> tiles = cast_tiles(tile_list);
    std::vector<CodedTile> coded(tiles.size());
    const size_t shape[3] = {pixels.shape(0), pixels.shape(1), pixels.shape(2)};
    {
        nb::gil_scoped_release released;
        for_each_tile(tiles, threads, [&](int i, Team& team) {
            // Pixels is a view for reading and writing; encode_tile only reads.
            const Pixels view = tile_pixels(const_cast<uint8_t*>(pixels.data()), shape, tiles[i]);
            coded[i] = encode_tile(view, packed.model(), corrections, kernels, tiles[i].streams, team);
        });
    }
    nb::list out;
    for (const CodedTile& tile : coded) {
        nb::list ranges, segments;
        for (const Range& range : tile.ranges) ranges.append(nb::make_tuple(range.low, range.high));
        for (const auto& scale : tile.segments) {
            nb::list streams;
            for (const auto& segment : scale) streams.append(nb::bytes(segment.data(), segment.size()));
            segments.append(streams);
        }
        out.append(nb::make_tuple(ranges, segments));
    }
    return out;
}

// coded: (ranges, coarse, segments) of every tile. scale: pixels are every 2**scale'th of each row and column.
// Returns what is wrong with the data, or an empty string.
std::string decode(const PixelArray& pixels, const nb::list& tile_list, const nb::list& coded, const nb::tuple& stored,
                   const PackedModel& packed, int scale, int threads, const std::string& isa) {
    const Kernels& kernels = find_kernels(isa);
    const Corrections corrections = unpack_corrections(cast_corrections(stored), packed.model());
    const std::vector<Tile> tiles = cast_tiles(tile_list);
    std::vector<TileView> views;
    for (nb::handle item : coded) {
        const auto tile = nb::cast<nb::tuple>(item);
        const Tile& place = tiles[views.size()];
        TileView view{place.y >> scale, place.x >> scale, place.height, place.width, {}, {}, {}};
        for (const auto& range : nb::cast<std::vector<std::vector<int>>>(tile[0])) {
            view.ranges.push_back({range[0], range[1]});
        }
        const auto coarse = nb::cast<ConstPixelArray>(tile[1]);
        view.coarse = {const_cast<uint8_t*>(coarse.data()), ptrdiff_t(coarse.shape(1) * coarse.shape(2)),
                       int(coarse.shape(0)), int(coarse.shape(1)), int(coarse.shape(2))};
        for (nb::handle streams : nb::cast<nb::list>(tile[2])) {
            view.segments.emplace_back();
            for (nb::handle segment : nb::cast<nb::list>(streams)) {
                const auto bytes = nb::cast<nb::bytes>(segment);
                view.segments.back().push_back({static_cast<const uint8_t*>(bytes.data()), bytes.size()});
            }
        }
        views.push_back(std::move(view));
    }
    const Pixels decoded{pixels.data(), ptrdiff_t(pixels.shape(1) * pixels.shape(2)), int(pixels.shape(0)),
                         int(pixels.shape(1)), int(pixels.shape(2))};
    std::string problem;
    std::mutex mutex;
    nb::gil_scoped_release released;
    for_each_tile(tiles, threads, [&](int i, Team& team) {
        const std::string found =
            decode_tile(decoded, views[i], scale, packed.model(), corrections, kernels, tiles[i].streams, team);
        const std::lock_guard<std::mutex> lock(mutex);
        if (problem.empty() && !found.empty()) problem = found;
    });
    return problem;
}

// What of llicti_core/spec.py is repeated here, for a test to compare.
nb::dict constants() {
    nb::dict found;
    found["LEVELS"] = kScales;
    found["LANES"] = kLanes;
    found["COMPONENTS"] = kComponents;
    found["PARAMETER_KINDS"] = kGroups;
    found["OUTPUTS"] = kOutputs;
    found["HIDDEN_SHIFT"] = kHiddenShift;
    found["OUTPUT_SHIFT"] = kOutputShift;
    found["FINE_SHIFT"] = kFineShift;
    found["GAIN_SHIFT"] = kGainShift;
    found["ACTIVATION_MAX"] = kActivationMax;
    found["MAX_SPREAD_INDEX"] = kMaxScaleIndex;
    found["MAX_MEAN"] = kMaxMean;
    found["MAX_WIDTH"] = kMaxWidth;
    return found;
}

}  // namespace

NB_MODULE(_native, module) {
    nb::class_<PackedModel>(module, "PackedModel")
        .def(nb::init<const std::vector<std::vector<int>>&, const nb::list&>(), nb::arg("tables"), nb::arg("bands"));
    module.def("fit", &fit, nb::arg("pixels"), nb::arg("tiles"), nb::arg("model"), nb::arg("plan"), nb::arg("threads"),
               nb::arg("isa"));
    module.def("estimate", &estimate, nb::arg("model"), nb::arg("band"), nb::arg("activations"), nb::arg("residuals"),
               nb::arg("bounds"), nb::arg("gain"), nb::arg("bias"), nb::arg("hidden"), nb::arg("isa"));
    module.def("encode", &encode, nb::arg("pixels"), nb::arg("tiles"), nb::arg("adaptation"), nb::arg("model"), nb::arg("threads"),
               nb::arg("isa"));
    module.def("decode", &decode, nb::arg("pixels"), nb::arg("tiles"), nb::arg("coded"), nb::arg("adaptation"),
               nb::arg("model"), nb::arg("level"), nb::arg("threads"), nb::arg("isa"));
    module.def("constants", &constants);
    module.def("instruction_sets", [] {
        nb::list names;
        for (const Kernels* kernels : supported_kernels()) names.append(kernels->name);
        return names;
    });
}
