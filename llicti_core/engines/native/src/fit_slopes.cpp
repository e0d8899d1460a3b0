// A Python binding for tests alone: what the search for an adaptation computes, so that they can compare it.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "adapt/sample.hpp"
#include "adapt/twin.hpp"
#include "bindings.hpp"
#include "dispatch.hpp"
#include "threads.hpp"

namespace llicti {
namespace {

// What the search makes of a band of one level of `array`, so that tests can compare it: inputs [pixels, inputs], upper
// and lower ends [channels, pixels], residuals [pixels], bits, and their slopes by the network's `numbers`; all
// float32.
nb::tuple fit_slopes(const ConstPixelArray& array, const PackedModel& packed, int network, int band, int level,
                     const std::vector<float>& numbers, int sets, int precision, const std::string& isa) {
    using namespace fitting;
    const FitKernels& kernels = find_fit_kernels(isa);
    const Network& model = packed.model().networks.at(size_t(network)).at(size_t(band));
    const Pixels pixels = cast_pixels(array);
    const SampledImage image({pixels}, packed.model());
    Interruption never([] { return false; });
    ThreadPool pool(1, never);
    const int blocks = int((int64_t(pixels.height) * pixels.width + kContexts - 1) / kContexts);
    const ValueBounds bounds = look_around(image, kernels, 2 * blocks, 0, pool).bounds;
    Twin twin(model, NetworkKind(network), sets, precision);
    if (numbers.size() != twin.size()) throw std::invalid_argument("not so many numbers");
    twin.set(numbers, false);
    for (float& share : twin.network().share) share = 1 - 256.0f / 65536;
    FloatGradient& gradient = twin.clear_gradient(true);
    std::vector<float> inputs, edges[4], residuals;
    double bits = 0;
    ContextBlock block{};
    block.rows.resize(size_t(padded(model.layers[0].in)));
    const LevelView view = level_view(pixels, level);
    const int columns = (view.width + 1) / 2, cell_count = (view.height + 1) / 2 * columns;
    const std::vector<int> places = image.seen(band, network == kChroma);
    const auto cells = std::make_unique<CellBlock>();
    for (int first = 0; first < cell_count; first += kContexts) {
        Spot spots[kContexts];
        const int count = std::min(kContexts, cell_count - first);
        for (int i = 0; i < kContexts; i++) {
            const int cell = first + (i < count ? i : 0);
            spots[i] = {&view, cell / columns, cell % columns};
        }
        image.look_at(kernels, std::min(level, sets - 1), count, spots, places, *cells);
        kernels.see(image.view(band), *cells, network == kChroma, bounds, image.extra(), block);
        for (size_t p = 0; p < kContexts; p++) {
            if (block.counted.of[p] == 0) continue;
            for (size_t k = 0; k < size_t(model.layers[0].in); k++) inputs.push_back(block.rows[k].of[p]);
            for (size_t c = 0; c < 2; c++) {
                edges[c].push_back(block.upper[c].of[p]);
                edges[2 + c].push_back(block.lower[c].of[p]);
            }
            residuals.push_back(block.residual.of[p]);
        }
        bits += kernels.evaluate(twin.network(), block, nullptr);
        kernels.evaluate(twin.network(), block, &gradient);
    }
    Numbers slopes;
    twin.find_slopes(slopes);
    const auto bytes = [](const std::vector<float>& v) { return nb::bytes(v.data(), v.size() * sizeof(float)); };
    return nb::make_tuple(bytes(inputs), bytes(edges[0]), bytes(edges[1]), bytes(edges[2]), bytes(edges[3]),
                          bytes(residuals), bits, bytes(slopes));
}

}  // namespace

void define_fit_slopes(nb::module_& module) {
    module.def("fit_slopes", &fit_slopes, nb::arg("pixels"), nb::arg("model"), nb::arg("network"), nb::arg("band"),
               nb::arg("level"), nb::arg("numbers"), nb::arg("sets"), nb::arg("precision"), nb::arg("isa"));
}

}  // namespace llicti
