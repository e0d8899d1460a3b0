// What the files of the Python module share: arrays from Python, and models packed for kernels.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <mutex>
#include <stdexcept>

#include "kernels/kernels.hpp"
#include "model.hpp"
#include "planes.hpp"

namespace llicti {

namespace nb = nanobind;

// Of uint8, or of uint16 where values have kDeepBits.
using PixelArray = nb::ndarray<nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using ConstPixelArray = nb::ndarray<nb::ro, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

// Pixels is a view for reading and writing; nobody writes to what was cast from an array for reading.
template <class Array>
Pixels cast_pixels(const Array& array) {
    const bool deep = array.dtype() == nb::dtype<uint16_t>();
    if (!deep && array.dtype() != nb::dtype<uint8_t>())
        throw std::invalid_argument("pixels are neither uint8 nor uint16");
    auto* first = static_cast<uint8_t*>(const_cast<void*>(static_cast<const void*>(array.data())));
    const auto stride = ptrdiff_t(array.shape(1) * array.shape(2) * (deep ? 2 : 1));
    return {first, stride, int(array.shape(0)), int(array.shape(1)), int(array.shape(2)), deep};
}

// A model, and its networks as kernels want them.
class PackedModel {
public:
    // bands: (phase, neighbours of (phase, row, column), further luma places, nearest). networks: luma and chroma, of
    // each band the layers of (weight, bias, multiplier).
    PackedModel(const nb::list& bands, const nb::list& networks);

    const Model& model() const { return model_; }

    // Changed as `adaptation` says, for `kernels`. Throws FormatProblem.
    std::shared_ptr<const PackedNetworks> packed(const Kernels& kernels, const nb::bytes& adaptation, int channels);

private:
    Model model_;
    std::mutex mutex_;                  // of the two that follow: calls of several threads share a model
    const Kernels* kernels_ = nullptr;  // that the model itself is packed for
    std::shared_ptr<const PackedNetworks> packed_;
};

// Gives the module the function `fit_slopes`; see fit_slopes.cpp.
void define_fit_slopes(nb::module_& module);

}  // namespace llicti
