// Which kernels this processor can run.
#pragma once

#include <string>
#include <vector>

#include "kernels/adapt.hpp"
#include "kernels/kernels.hpp"

namespace llicti {

// Those that this build has and this processor can run, fastest first; detected once.
const std::vector<const Kernels*>& supported_kernels();

// The kernels called `name`, or the fastest. Throws std::invalid_argument where there are none.
const Kernels& find_kernels(const std::string& name);

// What the search for an adaptation computes with the instruction set called `name`, or with the fastest.
const fitting::FitKernels& find_fit_kernels(const std::string& name);

}  // namespace llicti
