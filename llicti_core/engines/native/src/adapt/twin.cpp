// A network in floats, as a function of the numbers that an adaptation changes it by.
#include "adapt/twin.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace llicti::fitting {
namespace {

constexpr float kGainUnit = 1.0f / (1 << (kGainShift + kFineShift)), kShiftUnit = 0.5f;

// Whether a weight is in a block that holds nothing but 0. Kernels skip such blocks, so that they are not searched.
bool in_empty_block(const Layer& layer, int output, int input) {
    constexpr int kInputs = 4, kOutputs = 2;  // as in models/blocks.py
    const int first_output = output / kOutputs * kOutputs, first_input = input / kInputs * kInputs;
    for (int o = first_output; o < std::min(first_output + kOutputs, layer.out); o++) {
        for (int k = first_input; k < std::min(first_input + kInputs, layer.in); k++) {
            if (layer.weight[size_t(o) * size_t(layer.in) + size_t(k)]) return false;
        }
    }
    return true;
}

}  // namespace

Twin::Twin(const Network& model, NetworkKind kind, int sets, int precision)
    : model_(model), kind_(kind), sets_(sets), precision_(precision), layers_(model.layers.size()) {
    const int depth = int(model.layers.size()) - 1;
    for_each_array(model, sets, [&](const ArrayPlace& place) {
        arrays_.push_back(place);
        size_ += place.count;
        FloatLayerData& layer = layers_[size_t(place.layer)];
        if (place.kind == ArrayKind::kWeight) layer.first_weight = place.first;
        if (place.kind == ArrayKind::kHiddenBias) layer.first_bias[place.set] = place.first;
    });
    for (auto* each : {&outputs_[0], &outputs_[1], &outputs_gradient_[0], &outputs_gradient_[1]}) {
        each->resize(size_t(kBiasLevels) * kMostOutputs);
    }
    network_.channels = kind == kChroma ? 2 : 1;
    for (int i = 0; i <= depth; i++) {
        const Layer& from = model.layers[size_t(i)];
        FloatLayerData& layer = layers_[size_t(i)];
        const float unit = 1.0f / float(1 << (i < depth ? kHiddenShift : kOutputShift));
        const size_t in = size_t(padded(from.in)), out = size_t(padded(from.out));
        layer.base.resize(from.weight.size());
        layer.step.resize(from.weight.size());
        for (int o = 0; o < from.out; o++) {
            const float scale = float(from.multiplier[size_t(o)]) * unit;
            const float step = unit * float(1 << weight_exponent(i, o));
            layer.most.push_back(kWeightMax * scale);
            for (int k = 0; k < from.in; k++) {
                const size_t at = size_t(o) * size_t(from.in) + size_t(k);
                layer.base[at] = scale * float(from.weight[at]);
                layer.step[at] = in_empty_block(from, o, k) ? 0.0f : step;
            }
        }
        layer.weight.resize(out * in);
        layer.used_bias.resize(kBiasLevels * out);
        layer.weight_gradient.resize(in * size_t(padded_more(from.out)));
        layer.hidden_gradient.resize(size_t(sets) * out);
        network_.layers.push_back({from.in, from.out, i == 0, layer.weight.data(), {}});
        for (int s = 0; s < kBiasLevels; s++) network_.layers.back().bias[s] = &layer.used_bias[size_t(s) * out];
    }
    for (int s = 0; s < kBiasLevels; s++) {
        const size_t at = size_t(set_of_level(s, sets)) * kMostOutputs;
        network_.gain[s] = &outputs_[0][at];
        network_.shift[s] = &outputs_[1][at];
        gradient_.gain[s] = &outputs_gradient_[0][at];
        gradient_.shift[s] = &outputs_gradient_[1][at];
    }
}

int Twin::weight_exponent(int layer, int output) const {
    return weight_shift(model_, kind_, layer, output) - precision_;
}

// weight(layer, output, input) and bias(layer, level, output) give the changed ones.
template <class Weight, class Bias>
void Twin::fill(bool cached, Weight weight, Bias bias) {
    network_.cached = cached;
    const int depth = int(layers_.size()) - 1;
    for (int i = cached ? depth - 1 : 0; i <= depth; i++) {
        FloatLayerData& layer = layers_[size_t(i)];
        const int in = model_.layers[size_t(i)].in, out = model_.layers[size_t(i)].out;
        const int in_stride = padded(in), out_stride = padded(out);
        if (!cached || i == depth) {
            for (int o = 0; o < out; o++) {
                for (int k = 0; k < in; k++) layer.weight[size_t(o * in_stride + k)] = weight(i, o, k);
            }
        }
        for (int s = 0; s < kBiasLevels; s++) {
            for (int o = 0; o < out; o++) layer.used_bias[size_t(s * out_stride + o)] = bias(i, s, o);
        }
    }
}

void Twin::set(const Numbers& numbers, bool cached) {
    const int depth = int(layers_.size()) - 1;
    const float bias_step = float(1 << bias_exponent()) / (1 << kHiddenShift);
    fill(
        cached,
        [&](int i, int o, int k) {
            const size_t at = size_t(o) * size_t(model_.layers[size_t(i)].in) + size_t(k);
            const FloatLayerData& layer = layers_[size_t(i)];
            const float w = layer.base[at] + layer.step[at] * numbers[layer.first_weight + at];
            return std::min(std::max(w, -layer.most[size_t(o)]), layer.most[size_t(o)]);
        },
        [&](int i, int s, int o) {
            const Layer& from = model_.layers[size_t(i)];
            const float unit =
                float(from.multiplier[size_t(o)]) / float(1 << (i < depth ? kHiddenShift : kOutputShift));
            const float own = unit * float(from.bias[size_t(s * from.out + o)]);
            if (i == depth) return own;
            return (cached ? 0.0f : own) + bias_step * numbers[first_bias(i, s) + size_t(o)];
        });
    set_outputs(numbers.data());
}

void Twin::set_exactly(const std::vector<int8_t>& numbers, bool cached) {
    const int depth = int(layers_.size()) - 1;
    fill(
        cached,
        [&](int i, int o, int k) {
            const Layer& from = model_.layers[size_t(i)];
            const size_t at = size_t(o) * size_t(from.in) + size_t(k);
            const int number = numbers[layers_[size_t(i)].first_weight + at];
            if (!number) return layers_[size_t(i)].base[at];
            const int m = from.multiplier[size_t(o)];
            const int w =
                std::clamp(from.weight[at] + change(number, weight_exponent(i, o), m), -kWeightMax, +kWeightMax);
            return float(w) * float(m) / float(1 << (i < depth ? kHiddenShift : kOutputShift));
        },
        [&](int i, int s, int o) {
            const Layer& from = model_.layers[size_t(i)];
            const float unit =
                float(from.multiplier[size_t(o)]) / float(1 << (i < depth ? kHiddenShift : kOutputShift));
            const int32_t own = from.bias[size_t(s * from.out + o)];
            if (i == depth) return unit * float(own);
            const int number = numbers[first_bias(i, s) + size_t(o)];
            const int64_t delta = change(number, bias_exponent(), from.multiplier[size_t(o)]);
            return unit * float((cached ? 0 : own) + delta);
        });
    whole_.assign(numbers.begin(), numbers.end());
    set_outputs(whole_.data());
}

void Twin::set_outputs(const float* numbers) {
    for (const ArrayPlace& array : arrays_) {
        const size_t at = size_t(array.set) * kMostOutputs;
        for (size_t o = 0; o < array.count; o++) {
            const float number = numbers[array.first + o];
            if (array.kind == ArrayKind::kGain) outputs_[0][at + o] = kGainUnit * ((1 << kGainShift) + number);
            if (array.kind == ArrayKind::kShift) outputs_[1][at + o] = kShiftUnit * number;
        }
    }
}

FloatGradient& Twin::clear_gradient(bool hidden_weights) {
    gradient_.weight.clear();
    for (size_t i = 0; i < layers_.size(); i++) {
        const bool wanted = hidden_weights || i + 1 == layers_.size();
        std::vector<float>& weight = layers_[i].weight_gradient;
        if (wanted) std::fill(weight.begin(), weight.end(), 0.0f);
        gradient_.weight.push_back(wanted ? weight.data() : nullptr);
    }
    for (int s = 0; s < sets_; s++) {
        gradient_.hidden[s].clear();
        for (FloatLayerData& layer : layers_) {
            float* first = &layer.hidden_gradient[layer.hidden_gradient.size() / size_t(sets_) * size_t(s)];
            std::fill_n(first, layer.hidden_gradient.size() / size_t(sets_), 0.0f);
            gradient_.hidden[s].push_back(first);
        }
    }
    for (auto& each : outputs_gradient_) std::fill(each.begin(), each.end(), 0.0f);
    return gradient_;
}

void Twin::find_slopes(Numbers& slopes) const {
    slopes.resize(size_);
    const float bias_step = float(1 << bias_exponent()) / (1 << kHiddenShift);
    for (const ArrayPlace& array : arrays_) {
        float* to = &slopes[array.first];
        const FloatLayerData& layer = layers_[size_t(array.layer)];
        const int in = model_.layers[size_t(array.layer)].in;
        switch (array.kind) {
            case ArrayKind::kWeight:
                if (!gradient_.weight[size_t(array.layer)]) break;
                for (int o = 0; o < model_.layers[size_t(array.layer)].out; o++) {
                    const float* from = &layer.weight_gradient[size_t(o)];
                    const size_t apart = size_t(padded_more(model_.layers[size_t(array.layer)].out));
                    const float* step = &layer.step[size_t(o) * size_t(in)];
                    for (int k = 0; k < in; k++) *to++ = from[size_t(k) * apart] * step[k];
                }
                break;
            case ArrayKind::kHiddenBias: {
                const float* from = gradient_.hidden[array.set][size_t(array.layer)];
                for (size_t o = 0; o < array.count; o++) to[o] = from[o] * bias_step;
                break;
            }
            case ArrayKind::kGain:
                for (size_t o = 0; o < array.count; o++) to[o] = gradient_.gain[array.set][o] * kGainUnit;
                break;
            case ArrayKind::kShift:
                for (size_t o = 0; o < array.count; o++) to[o] = gradient_.shift[array.set][o] * kShiftUnit;
                break;
        }
    }
}

bool Twin::keep_bounds(std::vector<int8_t>& numbers) const {
    const int depth = int(layers_.size()) - 1;
    bool changed_any = false;
    for (int i = 0; i <= depth; i++) {
        const Layer& from = model_.layers[size_t(i)];
        for (int o = 0; o < from.out; o++) {
            const int m = from.multiplier[size_t(o)];
            const auto changed = [&](int number, int exponent) { return number ? change(number, exponent, m) : 0; };
            int64_t weights = 0, bias = 0;
            int8_t* row = &numbers[layers_[size_t(i)].first_weight + size_t(o) * size_t(from.in)];
            for (int k = 0; k < from.in; k++) {
                const int w =
                    from.weight[size_t(o) * size_t(from.in) + size_t(k)] + changed(row[k], weight_exponent(i, o));
                weights += std::abs(std::clamp(w, -kWeightMax, +kWeightMax));
            }
            for (int s = 0; s < kBiasLevels; s++) {
                int64_t b = from.bias[size_t(s * from.out + o)];
                if (i < depth) b += changed(numbers[first_bias(i, s) + size_t(o)], bias_exponent());
                bias = std::max(bias, std::abs(b));
            }
            if (row_within_bounds(weights, bias, m, i == 0)) continue;
            changed_any = true;
            std::fill_n(row, from.in, int8_t(0));
            for (int s = 0; i < depth && s < kBiasLevels; s++) numbers[first_bias(i, s) + size_t(o)] = 0;
        }
    }
    return changed_any;
}

}  // namespace llicti::fitting
