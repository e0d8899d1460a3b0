// The search for the adaptation of a model to an image.
#pragma once

#include <vector>

#include "adapt/sample.hpp"
#include "threads.hpp"

namespace llicti::fitting {

// How much work a search is, of a band's network of luma or chroma, in blocks of kContexts pixels.
struct FitPlan {
    int judged;         // that say what pays
    int output_blocks;  // that the output layer and the last hidden layer's biases are fitted to,
    int output_batch;   // so many in each
    int output_steps;   // of so many steps
    int batch, steps;   // of the search that all numbers are open to
};

// plans: of luma and of chroma.
// The ADPT payload (docs/format.md, clause 5.2) of the changes that pay for their bytes; empty where none do.
std::vector<uint8_t> fit(const std::vector<Pixels>& tiles, const Model& model, const FitPlan (&plans)[kNetworks],
                         const FitKernels& kernels, ThreadPool& pool);

}  // namespace llicti::fitting
