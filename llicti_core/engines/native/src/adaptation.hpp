// The model adapted to an image (docs/format.md, clause 5.2).
#pragma once

#include <cstddef>
#include <cstdint>

#include "model.hpp"

namespace llicti {

// Whether no accumulator, nor its product with the multiplier, can leave 32 bits (docs/format.md, clause 7.3).
bool within_bounds(const Networks& networks);

// The networks of `model` changed as `payload`, that of an ADPT section, says; unchanged where it is empty. Throws
// FormatProblem where it is damaged, or where an accumulator could leave 32 bits.
Networks adapt(const Model& model, const uint8_t* payload, size_t size, int channels);

}  // namespace llicti
