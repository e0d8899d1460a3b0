// Python bindings: packs models, and codes lists of tiles without the interpreter's lock.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>

#include "mixture.hpp"
#include "adapt/optimiser.hpp"
#include "dispatch.hpp"
#include "threads.hpp"
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

// weight [out, in], bias [out] or [levels, out], multiplier [out].
Layer pack_layer(const Int8Array& weight, const Int32Array& bias, const Int32Array& multiplier) {
    const int out = int(weight.shape(0)), in = int(weight.shape(1));
    if (out > kMaxWidth) throw std::invalid_argument("the model is too wide");
    return Layer(in, out, bias.ndim() == 2 ? kLevels : 1, weight.data(), bias.data(), multiplier.data());
}

class PackedModel {
public:
    // bands: (phase, neighbours of (phase, dy, dx), nearest, layers of (weight, bias, multiplier)).
    explicit PackedModel(const nb::list& bands) {
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

std::vector<TileRect> cast_tiles(const nb::list& tiles) {
    std::vector<TileRect> out;
    for (nb::handle tile : tiles) {
        const auto v = nb::cast<std::vector<int>>(tile);
        out.push_back({v[0], v[1], v[2], v[3], v[4]});
    }
    return out;
}

// (outputs, hidden), as AdaptedParameters of the Python side has them.
AdaptedParameters cast_parameters(const nb::tuple& pair) {
    const auto numbers = [&](int i) {
        const auto bytes = nb::cast<nb::bytes>(pair[i]);
        const auto* first = static_cast<const int8_t*>(bytes.data());
        return std::vector<int8_t>(first, first + bytes.size());
    };
    return {numbers(0), numbers(1)};
}

// Pixels is a view for reading and writing; nobody writes to what was cast from an array for reading.
template <class Array>
Pixels cast_pixels(const Array& array) {
    return {const_cast<uint8_t*>(array.data()), ptrdiff_t(array.shape(1) * array.shape(2)), int(array.shape(0)),
            int(array.shape(1)), int(array.shape(2))};
}

Pixels tile_pixels(const Pixels& pixels, const TileRect& tile) {
    uint8_t* first = pixels.data + tile.y * pixels.stride + ptrdiff_t(tile.x) * pixels.channels;
    return {first, pixels.stride, tile.height, tile.width, pixels.channels};
}

// Runs work(interruption) without the interpreter's lock. Where a signal handler raises, as Python's own does for
// Ctrl-C, the work ends early and its exception goes on.
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
    try {
        if (failure) std::rethrow_exception(failure);
    } catch (const Interrupted&) {
        throw nb::python_error();  // the one that the handler raised
    }
}

// Calls code(tile, pool) for every tile: whole tiles side by side while there are enough of them, and the rest one
// after the other with their streams side by side. No more threads are started than there is work for.
template <class Code>
void for_each_tile(const std::vector<TileRect>& tiles, int threads, Interruption& interruption, Code code) {
    const int count = int(tiles.size());
    int useful = count;
    for (const TileRect& tile : tiles) useful = std::max(useful, tile.streams);
    useful = std::min(useful, threads);
    ThreadPool pool(useful, interruption), alone(1, interruption);
    const int together = count / useful * useful;
    pool.run(together, [&](int i) { code(i, alone); });
    for (int i = together; i < count; i++) code(i, pool);
}

// plan: levels, samples, batch, steps. Returns outputs and hidden of AdaptedParameters.
nb::tuple fit(const ConstPixelArray& array, const nb::list& tile_list, const PackedModel& packed,
              const std::vector<int>& plan, int threads, const std::string& isa) {
    const Kernels& kernels = find_kernels(isa);
    const Pixels pixels = cast_pixels(array);
    std::vector<Pixels> tiles;
    for (const TileRect& tile : cast_tiles(tile_list)) tiles.push_back(tile_pixels(pixels, tile));
    AdaptedParameters parameters;
    run_interruptibly([&](Interruption& interruption) {
        ThreadPool pool(std::min(threads, 3 * plan[0]), interruption);  // a task for each band of each level
        parameters = fit_parameters(tiles, packed.model(), kernels, {plan[0], plan[1], plan[2], plan[3]}, pool);
    });
    return nb::make_tuple(nb::bytes(parameters.outputs.data(), parameters.outputs.size()),
                          nb::bytes(parameters.hidden.data(), parameters.hidden.size()));
}

// Bits of sampled activations int16 [channels, n] of a band, in 1 / 2**kHiddenFraction, and residuals [3, n],
// n a multiple of kChunk; and their slopes by gain, bias and hidden bias; so that tests can compare them with automatic
// differentiation. The model's width must be a multiple of 16.
nb::tuple estimate(const PackedModel& packed, int band, const Int16Array& activations, const FloatArray& residuals,
                   const std::vector<std::vector<int>>& bounds, const std::vector<float>& gain,
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
    std::vector<Bounds> channels;
    for (const auto& channel : bounds) channels.push_back({channel[0], channel[1]});
    Parameters at;
    Gradient gradient;
    std::copy(gain.begin(), gain.end(), at.gain.begin());
    std::copy(bias.begin(), bias.end(), at.bias.begin());
    at.hidden_bias_delta = hidden;
    const OutputLayer layer(packed.model().bands[band].layers.back());
    const auto run = [&](Gradient* slopes) {
        return find_kernels(isa).estimate(chunks.data(), int(chunks.size()), layer, channels.data(),
                                          int(channels.size()), at, slopes);
    };
    run(&gradient);
    const auto list = [](const auto& numbers) { return std::vector<float>(numbers.begin(), numbers.end()); };
    return nb::make_tuple(run(nullptr), list(gradient.gain), list(gradient.bias), gradient.hidden_bias_delta);
}

nb::list encode(const ConstPixelArray& array, const nb::list& tile_list, const nb::tuple& parameters,
                const PackedModel& packed, int threads, const std::string& isa) {
    const Kernels& kernels = find_kernels(isa);
    const Adaptation adaptation = unpack(cast_parameters(parameters), packed.model());
    const TileCoder coder{packed.model(), adaptation, kernels};
    const std::vector<TileRect> tiles = cast_tiles(tile_list);
    const Pixels pixels = cast_pixels(array);
    std::vector<CodedTile<std::vector<uint8_t>>> coded(tiles.size());
    run_interruptibly([&](Interruption& interruption) {
        for_each_tile(tiles, threads, interruption, [&](int i, ThreadPool& pool) {
            coded[i] = coder.encode(tile_pixels(pixels, tiles[i]), tiles[i].streams, pool);
        });
    });
    nb::list out;
    for (const auto& tile : coded) {
        nb::list bounds, segments;
        for (const Bounds& channel : tile.bounds) bounds.append(nb::make_tuple(channel.low, channel.high));
        for (const auto& level : tile.segments) {
            nb::list streams;
            for (const auto& segment : level) streams.append(nb::bytes(segment.data(), segment.size()));
            segments.append(streams);
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
// Returns what is wrong with the data, or an empty string.
std::string decode(const PixelArray& array, const nb::list& tile_list, const nb::list& coded,
                   const nb::tuple& parameters, const PackedModel& packed, int level, int threads,
                   const std::string& isa) {
    const Kernels& kernels = find_kernels(isa);
    const Adaptation adaptation = unpack(cast_parameters(parameters), packed.model());
    const TileCoder coder{packed.model(), adaptation, kernels};
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
    const Pixels pixels = cast_pixels(array);
    std::string problem;
    std::mutex mutex;
    run_interruptibly([&](Interruption& interruption) {
        for_each_tile(places, threads, interruption, [&](int i, ThreadPool& pool) {
            const std::string found = coder.decode(tiles[i], lowpasses[i], places[i], level, pixels, pool);
            const std::lock_guard<std::mutex> lock(mutex);
            if (problem.empty() && !found.empty()) problem = found;
        });
    });
    return problem;
}

}  // namespace

NB_MODULE(_native, module) {
    nb::class_<PackedModel>(module, "PackedModel").def(nb::init<const nb::list&>(), nb::arg("bands"));
    module.def("fit", &fit, nb::arg("pixels"), nb::arg("tiles"), nb::arg("model"), nb::arg("plan"), nb::arg("threads"),
               nb::arg("isa"));
    module.def("estimate", &estimate, nb::arg("model"), nb::arg("band"), nb::arg("activations"), nb::arg("residuals"),
               nb::arg("bounds"), nb::arg("gain"), nb::arg("bias"), nb::arg("hidden"), nb::arg("isa"));
    module.def("encode", &encode, nb::arg("pixels"), nb::arg("tiles"), nb::arg("adaptation"), nb::arg("model"),
               nb::arg("threads"), nb::arg("isa"));
    module.def("decode", &decode, nb::arg("pixels"), nb::arg("tiles"), nb::arg("coded"), nb::arg("adaptation"),
               nb::arg("model"), nb::arg("level"), nb::arg("threads"), nb::arg("isa"));
    module.def("instruction_sets", [] {
        nb::list names;
        for (const Kernels* kernels : supported_kernels()) names.append(kernels->name);
        return names;
    });
}
