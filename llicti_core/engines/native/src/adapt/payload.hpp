// What the file says of an adaptation: arrays of small numbers, and what they cost (docs/format.md, ADPT).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "adapted_arrays.hpp"

namespace llicti::fitting {

// How often each number occurs in an array, from kAdaptedMin on.
using Histogram = std::array<int, kAdaptedNumbers>;

Histogram count_numbers(const int8_t* numbers, size_t count);

struct ArrayCost {
    int spread;
    double bits;  // without the byte of the spread
};

// The cheapest way to code an array.
ArrayCost cheapest(const Histogram& histogram);

// The payload; empty where no array has a number other than 0.
std::vector<uint8_t> pack_numbers(int sets, int precision, const std::vector<std::vector<int8_t>>& arrays);

}  // namespace llicti::fitting
