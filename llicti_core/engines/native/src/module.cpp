// Python bindings: packs models, and codes lists of tiles without the interpreter's lock.
#include "bindings.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "adapt/optimiser.hpp"
#include "adapt/payload.hpp"
#include "adaptation.hpp"
#include "dispatch.hpp"
#include "plain.hpp"
#include "problem.hpp"
#include "threads.hpp"
#include "tile.hpp"

using namespace llicti;

namespace {

using Int8Array = nb::ndarray<const int8_t, nb::c_contig, nb::device::cpu>;
using Int32Array = nb::ndarray<const int32_t, nb::c_contig, nb::device::cpu>;
using ByteArray = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// weight [out, in], bias [out] or [levels, out], multiplier [out].
Layer make_layer(const Int8Array& weight, const Int32Array& bias, const Int32Array& multiplier) {
    Layer layer{int(weight.shape(1)), int(weight.shape(0)), {}, {}, {}};
    const size_t out = size_t(layer.out);
    const bool by_level = bias.ndim() == 2;
    if (layer.in > kMaxWidth || layer.out > kMaxWidth || bias.size() != (by_level ? kBiasLevels * out : out) ||
        multiplier.size() != out) {
        throw std::invalid_argument("a layer of the model has an impossible shape");
    }
    layer.weight.assign(weight.data(), weight.data() + weight.size());
    for (size_t level = 0; level < kBiasLevels; level++) {
        const int32_t* first = bias.data() + (by_level ? level * out : 0);
        layer.bias.insert(layer.bias.end(), first, first + out);
    }
    layer.multiplier.assign(multiplier.data(), multiplier.data() + out);
    return layer;
}

std::vector<Place> read_places(nb::handle list) {
    std::vector<Place> places;
    for (const auto& place : nb::cast<std::vector<std::vector<int>>>(list)) {
        places.push_back({place.at(0), place.at(1), place.at(2)});
    }
    return places;
}

void read_band(const nb::tuple& from, Band& band) {
    band.phase = nb::cast<int>(from[0]);
    band.neighbours = read_places(from[1]);
    band.more_luma = read_places(from[2]);
    const auto nearest = nb::cast<std::vector<int>>(from[3]);
    std::copy_n(nearest.begin(), 4, band.nearest.begin());
    if (3 * band.neighbours.size() + band.more_luma.size() > kMaxKnown) {
        throw std::invalid_argument("too many neighbours");
    }
}

void read_network(const nb::list& layers, int inputs, int outputs, Network& network) {
    int in = inputs;
    for (nb::handle item : layers) {
        const auto layer = nb::cast<nb::tuple>(item);
        network.layers.push_back(
            make_layer(nb::cast<Int8Array>(layer[0]), nb::cast<Int32Array>(layer[1]), nb::cast<Int32Array>(layer[2])));
        if (network.layers.back().in != in) throw std::invalid_argument("a layer has another number of inputs");
        in = network.layers.back().out;
    }
    if (network.layers.size() < 2 || in != outputs) throw std::invalid_argument("a network lacks layers");
    network.gain.assign(size_t(kBiasLevels) * size_t(outputs), 0);
    network.shift = network.gain;
}

}  // namespace

PackedModel::PackedModel(const nb::list& bands, const nb::list& networks) {
    for (size_t b = 0; b < kBands; b++) read_band(nb::cast<nb::tuple>(bands[b]), model_.bands[b]);
    for (size_t n = 0; n < kNetworks; n++) {
        const auto by_band = nb::cast<nb::list>(networks[n]);
        for (size_t b = 0; b < kBands; b++) {
            const Band& band = model_.bands[b];
            const int known = int(band.neighbours.size());
            const int inputs = n == kLuma ? known + 6 : 3 * known + int(band.more_luma.size()) + 13;
            read_network(nb::cast<nb::list>(by_band[b]), inputs, kOutputs[n], model_.networks[n][b]);
        }
    }
    if (!within_bounds(model_.networks)) throw std::invalid_argument("the model can overflow 32 bits");
}

std::shared_ptr<const PackedNetworks> PackedModel::packed(const Kernels& kernels, const nb::bytes& adaptation,
                                                          int channels) {
    if (!adaptation.size()) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (kernels_ == &kernels) return packed_;
    }
    const auto* payload = static_cast<const uint8_t*>(adaptation.data());
    const Networks networks = adapt(model_, payload, adaptation.size(), channels);
    auto packed = std::make_shared<PackedNetworks>();
    for (size_t n = 0; n < kNetworks; n++) {
        for (size_t b = 0; b < kBands; b++) kernels.pack(networks[n][b], NetworkKind(n), (*packed)[n][b]);
    }
    if (!adaptation.size()) {
        const std::lock_guard<std::mutex> lock(mutex_);
        packed_ = packed;
        kernels_ = &kernels;
    }
    return packed;
}

namespace {

TileRect cast_tile(nb::handle tile) {
    const auto v = nb::cast<std::vector<int>>(tile);
    return {v.at(0), v.at(1), v.at(2), v.at(3)};
}

std::vector<TileRect> cast_tiles(const nb::list& tiles) {
    std::vector<TileRect> out;
    for (nb::handle tile : tiles) out.push_back(cast_tile(tile));
    return out;
}

Pixels tile_pixels(const Pixels& pixels, const TileRect& tile) {
    return {pixels.at(tile.y, tile.x), pixels.stride, tile.height, tile.width, pixels.channels, pixels.deep};
}

// Runs work(interruption) without the interpreter's lock. Where a signal handler raises, as Python's own does for
// Ctrl-C, the work ends early and its exception goes on, even where the work has failed before.
template <class Work>
void run_interruptibly(Work work) {
    PyThreadState* state = PyEval_SaveThread();
    Interruption interruption([&state] {
        PyEval_RestoreThread(state);
        const bool raised = PyErr_CheckSignals() != 0;
        state = PyEval_SaveThread();
        return raised;
    });
    std::exception_ptr failure;
    try {
        work(interruption);
    } catch (...) {
        failure = std::current_exception();
    }
    PyEval_RestoreThread(state);
    if (PyErr_Occurred()) throw nb::python_error();  // the one that the handler raised
    if (failure) std::rethrow_exception(failure);
}

// Calls code(tile, pool) for every tile: whole tiles side by side while there are enough of them, and the rest one
// after the other with their streams side by side. No more threads are started than there is work for.
template <class Code>
void for_each_tile(const std::vector<TileRect>& tiles, int threads, Interruption& interruption, Code code) {
    if (tiles.empty()) return;
    const int count = int(tiles.size());
    int useful = count;
    for (const TileRect& tile : tiles) useful = std::max(useful, stream_count(tile.height));
    useful = std::min(useful, threads);
    ThreadPool pool(useful, interruption), alone(1, interruption);
    const int together = count / useful * useful;
    pool.run(together, [&](int i) { code(i, alone); });
    for (int i = together; i < count; i++) code(i, pool);
}

// The networks of a model changed as `adaptation`, the payload of ADPT, says: by kind and band the layers of (weight
// int8 [out, in], bias int32 [levels, out], multiplier int32 [out]), and gains and shifts of outputs, int8 [levels,
// out], all as bytes.
nb::list adapted(const PackedModel& packed, const nb::bytes& adaptation, int channels) {
    const auto bytes = [](const auto& v) { return nb::bytes(v.data(), v.size() * sizeof(v[0])); };
    const auto* payload = static_cast<const uint8_t*>(adaptation.data());
    nb::list kinds;
    for (const auto& networks : adapt(packed.model(), payload, adaptation.size(), channels)) {
        nb::list bands;
        for (const Network& network : networks) {
            nb::list layers;
            for (const Layer& layer : network.layers) {
                layers.append(nb::make_tuple(bytes(layer.weight), bytes(layer.bias), bytes(layer.multiplier)));
            }
            bands.append(nb::make_tuple(layers, bytes(network.gain), bytes(network.shift)));
        }
        kinds.append(bands);
    }
    return kinds;
}

// arrays: bytes, of which each is a number. Returns the payload of ADPT, or nothing where all are 0.
nb::bytes pack_numbers(int sets, int precision, const std::vector<nb::bytes>& arrays) {
    std::vector<std::vector<int8_t>> numbers;
    for (const nb::bytes& array : arrays) {
        const auto* first = static_cast<const int8_t*>(array.data());
        numbers.emplace_back(first, first + array.size());
    }
    const std::vector<uint8_t> payload = fitting::pack_numbers(sets, precision, numbers);
    return nb::bytes(payload.data(), payload.size());
}

// plans: the numbers of a FitPlan of luma, and of one of chroma. Returns the payload of ADPT.
nb::bytes fit(const ConstPixelArray& array, const nb::list& tile_list, const PackedModel& packed,
              const std::vector<std::vector<int>>& plans, int threads, const std::string& isa) {
    const fitting::FitKernels& kernels = find_fit_kernels(isa);
    const Pixels pixels = cast_pixels(array);
    std::vector<Pixels> tiles;
    for (const TileRect& tile : cast_tiles(tile_list)) tiles.push_back(tile_pixels(pixels, tile));
    std::vector<uint8_t> payload;
    run_interruptibly([&](Interruption& interruption) {
        ThreadPool pool(std::min(threads, kNetworks * kBands), interruption);
        fitting::FitPlan work[kNetworks];
        for (size_t n = 0; n < kNetworks; n++) {
            const std::vector<int>& plan = plans.at(n);
            work[n] = {plan.at(0), plan.at(1), plan.at(2), plan.at(3), plan.at(4), plan.at(5)};
        }
        payload = fitting::fit(tiles, packed.model(), work, kernels, pool);
    });
    return nb::bytes(payload.data(), payload.size());
}

// Returns bounds and segments of every tile.
nb::list encode(const ConstPixelArray& array, const nb::list& tile_list, const nb::bytes& adaptation,
                PackedModel& packed, int threads, const std::string& isa) {
    const Kernels& kernels = find_kernels(isa);
    const Pixels pixels = cast_pixels(array);
    const auto networks = packed.packed(kernels, adaptation, pixels.channels);
    const TileCoder coder{packed.model(), *networks, kernels};
    const std::vector<TileRect> tiles = cast_tiles(tile_list);
    std::vector<CodedTile<std::vector<uint8_t>>> coded(tiles.size());
    run_interruptibly([&](Interruption& interruption) {
        for_each_tile(tiles, threads, interruption,
                      [&](int i, ThreadPool& pool) { coded[i] = coder.encode(tile_pixels(pixels, tiles[i]), pool); });
    });
    nb::list out;
    for (auto& tile : coded) {
        nb::list bounds, segments;
        for (const Bounds& channel : tile.bounds) bounds.append(nb::make_tuple(channel.low, channel.high));
        for (auto& level : tile.segments) {
            nb::list streams;
            for (const auto& segment : level) streams.append(nb::bytes(segment.data(), segment.size()));
            segments.append(streams);
            level.clear();
        }
        out.append(nb::make_tuple(bounds, segments));
    }
    return out;
}

// (bounds, lowpass, segments) of a tile, without the lowpass.
CodedTile<Bytes> cast_coded(const nb::tuple& tile) {
    CodedTile<Bytes> coded;
    for (const auto& channel : nb::cast<std::vector<std::vector<int>>>(tile[0])) {
        coded.bounds.push_back({channel[0], channel[1]});
    }
    for (nb::handle streams : nb::cast<nb::list>(tile[2])) {
        coded.segments.emplace_back();
        for (nb::handle segment : nb::cast<nb::list>(streams)) {
            const auto bytes = nb::cast<nb::bytes>(segment);
            coded.segments.back().push_back({static_cast<const uint8_t*>(bytes.data()), bytes.size()});
        }
    }
    return coded;
}

// coded: (bounds, lowpass, segments) of every tile. level: pixels are every 2**level'th of each row and column.
void decode(const PixelArray& array, const nb::list& tile_list, const nb::list& coded, const nb::bytes& adaptation,
            PackedModel& packed, int level, int threads, const std::string& isa) {
    const Kernels& kernels = find_kernels(isa);
    const Pixels pixels = cast_pixels(array);
    const auto networks = packed.packed(kernels, adaptation, pixels.channels);
    const TileCoder coder{packed.model(), *networks, kernels};
    std::vector<TileRect> places = cast_tiles(tile_list);
    std::vector<CodedTile<Bytes>> tiles;
    std::vector<Pixels> lowpasses;
    for (size_t i = 0; i < places.size(); i++) {
        const auto tile = nb::cast<nb::tuple>(coded[i]);
        tiles.push_back(cast_coded(tile));
        lowpasses.push_back(cast_pixels(nb::cast<ConstPixelArray>(tile[1])));
        places[i].y >>= level;
        places[i].x >>= level;
    }
    run_interruptibly([&](Interruption& interruption) {
        for_each_tile(places, threads, interruption, [&](int i, ThreadPool& pool) {
            coder.decode(tiles[i], lowpasses[i], places[i], level, pixels, pool);
        });
    });
}

// What a section of plain bits has of a tile: see plain.hpp.
nb::bytes pack_plain_bits(const ConstPixelArray& array, const nb::tuple& tile, int level, bool coarsest, int bits) {
    const Pixels pixels = tile_pixels(cast_pixels(array), cast_tile(tile));
    std::vector<uint8_t> bytes;
    {
        const nb::gil_scoped_release unlocked;
        bytes = pack_plain(pixels, {level, coarsest, bits});
    }
    return nb::bytes(bytes.data(), bytes.size());
}

size_t plain_bits_size(const nb::tuple& tile, int channels, int level, bool coarsest, int bits) {
    return plain_size(cast_tile(tile), channels, {level, coarsest, bits});
}

// data: plain_size bytes of a tile, whose place is seen from the first of the pixels of a view at `view_level`.
void unpack_plain_bits(const ByteArray& data, const nb::tuple& tile, int level, bool coarsest, int bits,
                       const PixelArray& array, int view_level) {
    const Pixels pixels = cast_pixels(array);
    const TileRect place = cast_tile(tile);
    const PlainLevel part{level, coarsest, bits};
    if (data.size() != plain_size(place, pixels.channels, part)) throw std::invalid_argument("not so many bytes");
    const nb::gil_scoped_release unlocked;
    unpack_plain(data.data(), part, place, view_level, pixels);
}

}  // namespace

NB_MODULE(_native, module) {
    nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
        try {
            std::rethrow_exception(thrown);
        } catch (const FormatProblem& problem) {
            const nb::object type = nb::module_::import_("llicti_core.errors").attr("FormatError");
            PyErr_SetString(type.ptr(), problem.what());
        }
    });
    nb::class_<PackedModel>(module, "PackedModel")
        .def(nb::init<const nb::list&, const nb::list&>(), nb::arg("bands"), nb::arg("networks"));
    module.def("fit", &fit, nb::arg("pixels"), nb::arg("tiles"), nb::arg("model"), nb::arg("plans"), nb::arg("threads"),
               nb::arg("isa"));
    module.def("adapted", &adapted, nb::arg("model"), nb::arg("adaptation"), nb::arg("channels"));
    module.def("pack_numbers", &pack_numbers, nb::arg("sets"), nb::arg("precision"), nb::arg("arrays"));
    define_fit_slopes(module);
    module.def("encode", &encode, nb::arg("pixels"), nb::arg("tiles"), nb::arg("adaptation"), nb::arg("model"),
               nb::arg("threads"), nb::arg("isa"));
    module.def("decode", &decode, nb::arg("pixels"), nb::arg("tiles"), nb::arg("coded"), nb::arg("adaptation"),
               nb::arg("model"), nb::arg("level"), nb::arg("threads"), nb::arg("isa"));
    module.def("pack_plain", &pack_plain_bits, nb::arg("pixels"), nb::arg("tile"), nb::arg("level"),
               nb::arg("coarsest"), nb::arg("bits"));
    module.def("plain_size", &plain_bits_size, nb::arg("tile"), nb::arg("channels"), nb::arg("level"),
               nb::arg("coarsest"), nb::arg("bits"));
    module.def("unpack_plain", &unpack_plain_bits, nb::arg("data"), nb::arg("tile"), nb::arg("level"),
               nb::arg("coarsest"), nb::arg("bits"), nb::arg("pixels"), nb::arg("view_level"));
    module.def("instruction_sets", [] {
        nb::list names;
        for (const Kernels* kernels : supported_kernels()) names.append(kernels->name);
        return names;
    });
}
