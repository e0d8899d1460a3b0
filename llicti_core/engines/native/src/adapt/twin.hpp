// A network in floats, as a function of the numbers that an adaptation changes it by.
#pragma once

#include <cstdint>
#include <vector>

#include "adapted_arrays.hpp"
#include "kernels/adapt.hpp"
#include "model.hpp"

namespace llicti::fitting {

using Numbers = std::vector<float>;

class Twin {
public:
    Twin(const Network& model, NetworkKind kind, int sets, int precision);

    const std::vector<ArrayPlace>& arrays() const { return arrays_; }
    size_t size() const { return size_; }

    // The network changed by `numbers`, as a smooth function of them. cached: see FloatNetwork; then biases of the last
    // hidden layer are without the model's own, which rows have already.
    void set(const Numbers& numbers, bool cached);
    // And as integers make it of whole numbers.
    void set_exactly(const std::vector<int8_t>& numbers, bool cached);
    const FloatNetwork& network() const { return network_; }
    FloatNetwork& network() { return network_; }

    // Slopes by the float network's parameters. hidden_weights: whether those of hidden layers' weights are wanted, as
    // those of the output layer's always are.
    FloatGradient& clear_gradient(bool hidden_weights);
    // And by the numbers.
    void find_slopes(Numbers& slopes) const;

    // Sets numbers to 0 in rows whose totals might overflow (docs/format.md, 7.3). Returns whether there were any.
    bool keep_bounds(std::vector<int8_t>& numbers) const;

private:
    struct FloatLayerData {
        size_t first_weight, first_bias[kBiasLevels];           // numbers of weights and, by set, of hidden biases
        std::vector<float> base, step;                          // [out][in], weights, and what a number of 1 adds
        std::vector<float> most;                                // [out], the largest weight
        std::vector<float> weight, used_bias, weight_gradient;  // as in FloatLayer and FloatGradient
        std::vector<float> hidden_gradient;                     // [sets][padded out]
    };

    // Of weights and of hidden biases.
    int weight_exponent(int layer, int output) const;
    int bias_exponent() const { return kHiddenBiasShift - precision_; }
    // The first number of the biases of a hidden layer at a level.
    size_t first_bias(int layer, int level) const {
        return layers_[size_t(layer)].first_bias[set_of_level(level, sets_)];
    }
    template <class Weight, class Bias>
    void fill(bool cached, Weight weight, Bias bias);
    void set_outputs(const float* numbers);

    const Network& model_;
    const NetworkKind kind_;
    int sets_, precision_;
    size_t size_ = 0;
    std::vector<ArrayPlace> arrays_;
    std::vector<FloatLayerData> layers_;
    std::vector<float> outputs_[2], outputs_gradient_[2];  // gain and shift, [sets][kMostOutputs]
    std::vector<float> whole_;                             // numbers in floats
    FloatNetwork network_;
    FloatGradient gradient_;
};

}  // namespace llicti::fitting
