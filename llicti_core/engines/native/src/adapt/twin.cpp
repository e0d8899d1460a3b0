// A network in floats, as a function of the numbers that an adaptation changes it by.
#include "adapt/twin.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace llicti::fitting {
namespace {

constexpr float kGainUnit = 1.0f / (1 << (kGainShift + kFineShift)), kBiasUnit = 0.5f;

int64_t floor_divided(int64_t a, int64_t b) { return a / b - (a % b < 0); }

}  // namespace

Twin::Twin(const Network& model, int channels, int sets, int precision)
    : model_(model), sets_(sets), precision_(precision) {
    const int depth = int(model.layers.size()) - 1;
    const auto add = [&](ArrayKind kind, int layer, int set, size_t count) {
        arrays_.push_back({kind, layer, set, size_, count});
        size_ += count;
    };
    const size_t outputs = size_t(model.layers[size_t(depth)].out);
    for (int i = 0; i <= depth; i++) {
        add(ArrayKind::kWeight, i, 0, size_t(model.layers[size_t(i)].in) * size_t(model.layers[size_t(i)].out));
    }
    for (int i = 0; i < depth; i++) {
        for (int s = 0; s < sets; s++) add(ArrayKind::kHidden, i, s, size_t(model.layers[size_t(i)].out));
    }
    for (int s = 0; s < sets; s++) add(ArrayKind::kGain, depth, s, outputs);
    for (int s = 0; s < sets; s++) add(ArrayKind::kBias, depth, s, outputs);
    for (auto* each : {&outputs_[0], &outputs_[1], &outputs_gradient_[0], &outputs_gradient_[1]}) {
        each->resize(size_t(kBiasLevels) * kMostOutputs);
    }
    network_.channels = channels;
    for (int i = 0; i <= depth; i++) {
        const Layer& from = model.layers[size_t(i)];
        layers_.emplace_back();
        FloatLayerData& layer = layers_.back();
        const float unit = 1.0f / float(1 << (i < depth ? kHiddenShift : kOutputShift));
        const size_t in = size_t(padded(from.in)), out = size_t(padded(from.out));
        layer.base.resize(from.weight.size());
        for (int o = 0; o < from.out; o++) {
            const float scale = float(from.multiplier[size_t(o)]) * unit;
            layer.step.push_back(unit * float(1 << exponent(i, o)));
            layer.most.push_back(kWeightMax * scale);
            for (int k = 0; k < from.in; k++) {
                const size_t at = size_t(o) * size_t(from.in) + size_t(k);
                layer.base[at] = scale * float(from.weight[at]);
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
        const size_t at = size_t(std::min(s, sets - 1)) * kMostOutputs;
        network_.scale[s] = &outputs_[0][at];
        network_.offset[s] = &outputs_[1][at];
        gradient_.scale[s] = &outputs_gradient_[0][at];
        gradient_.offset[s] = &outputs_gradient_[1][at];
    }
}

// Numbers of weights are in steps of 2^exponent / multiplier.
int Twin::exponent(int layer, int output) const {
    if (layer == 0) return kFirstWeightShift - precision_;
    if (layer + 1 < int(model_.layers.size())) return kHiddenWeightShift - precision_;
    const int kind = output / (network_.channels * kComponents);
    constexpr int kShifts[4] = {kSpreadWeightShift, kMeanWeightShift, kLogitWeightShift, kCoefficientWeightShift};
    return kShifts[kind] - precision_;
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
    const float bias_step = float(1 << (kHiddenBiasShift - precision_)) / (1 << kHiddenShift);
    fill(
        cached,
        [&](int i, int o, int k) {
            const size_t at = size_t(o) * size_t(model_.layers[size_t(i)].in) + size_t(k);
            const FloatLayerData& layer = layers_[size_t(i)];
            const float w = layer.base[at] + layer.step[size_t(o)] * numbers[arrays_[size_t(i)].first + at];
            return std::min(std::max(w, -layer.most[size_t(o)]), layer.most[size_t(o)]);
        },
        [&](int i, int s, int o) {
            const Layer& from = model_.layers[size_t(i)];
            const float unit =
                float(from.multiplier[size_t(o)]) / float(1 << (i < depth ? kHiddenShift : kOutputShift));
            const float own = unit * float(from.bias[size_t(s * from.out + o)]);
            if (i == depth) return own;
            const size_t array = size_t(depth + 1 + i * sets_ + std::min(s, sets_ - 1));
            return (cached ? 0.0f : own) + bias_step * numbers[arrays_[array].first + size_t(o)];
        });
    set_outputs(numbers.data());
}

void Twin::set_exactly(const std::vector<int8_t>& numbers, bool cached) {
    const int depth = int(layers_.size()) - 1;
    const auto change = [](int number, int exponent, int64_t multiplier) {
        return floor_divided(number * (int64_t(1) << exponent) + (multiplier >> 1), multiplier);
    };
    fill(
        cached,
        [&](int i, int o, int k) {
            const Layer& from = model_.layers[size_t(i)];
            const size_t at = size_t(o) * size_t(from.in) + size_t(k);
            const int number = numbers[arrays_[size_t(i)].first + at];
            if (!number) return layers_[size_t(i)].base[at];
            const int m = from.multiplier[size_t(o)];
            const int64_t w =
                std::clamp<int64_t>(from.weight[at] + change(number, exponent(i, o), m), -kWeightMax, kWeightMax);
            return float(w) * float(m) / float(1 << (i < depth ? kHiddenShift : kOutputShift));
        },
        [&](int i, int s, int o) {
            const Layer& from = model_.layers[size_t(i)];
            const float unit =
                float(from.multiplier[size_t(o)]) / float(1 << (i < depth ? kHiddenShift : kOutputShift));
            const int32_t own = from.bias[size_t(s * from.out + o)];
            if (i == depth) return unit * float(own);
            const size_t array = size_t(depth + 1 + i * sets_ + std::min(s, sets_ - 1));
            const int number = numbers[arrays_[array].first + size_t(o)];
            const int64_t delta = change(number, kHiddenBiasShift - precision_, from.multiplier[size_t(o)]);
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
            if (array.kind == ArrayKind::kGain) outputs_[0][at + o] = kGainUnit * (64 + number);
            if (array.kind == ArrayKind::kBias) outputs_[1][at + o] = kBiasUnit * number;
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
    const float bias_step = float(1 << (kHiddenBiasShift - precision_)) / (1 << kHiddenShift);
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
                    for (int k = 0; k < in; k++) *to++ = from[size_t(k) * apart] * layer.step[size_t(o)];
                }
                break;
            case ArrayKind::kHidden: {
                const float* from = gradient_.hidden[array.set][size_t(array.layer)];
                for (size_t o = 0; o < array.count; o++) to[o] = from[o] * bias_step;
                break;
            }
            case ArrayKind::kGain:
                for (size_t o = 0; o < array.count; o++) to[o] = gradient_.scale[array.set][o] * kGainUnit;
                break;
            case ArrayKind::kBias:
                for (size_t o = 0; o < array.count; o++) to[o] = gradient_.offset[array.set][o] * kBiasUnit;
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
            const int64_t m = from.multiplier[size_t(o)];
            const auto changed = [&](int number, int exponent) {
                return number ? floor_divided(number * (int64_t(1) << exponent) + (m >> 1), m) : 0;
            };
            int64_t weights = 0, bias = 0;
            int8_t* row = &numbers[arrays_[size_t(i)].first + size_t(o) * size_t(from.in)];
            for (int k = 0; k < from.in; k++) {
                const int64_t w =
                    from.weight[size_t(o) * size_t(from.in) + size_t(k)] + changed(row[k], exponent(i, o));
                weights += std::abs(std::clamp<int64_t>(w, -kWeightMax, kWeightMax));
            }
            for (int s = 0; s < kBiasLevels; s++) {
                int64_t b = from.bias[size_t(s * from.out + o)];
                if (i < depth) {
                    const size_t array = size_t(depth + 1 + i * sets_ + std::min(s, sets_ - 1));
                    b += changed(numbers[arrays_[array].first + size_t(o)], kHiddenBiasShift - precision_);
                }
                bias = std::max(bias, std::abs(b));
            }
            const int64_t reach = (i ? 127 : 128) * weights + bias;
            if (3 * reach < int64_t(1) << 31 && reach * m < (int64_t(1) << 31) - (1 << 14)) continue;
            changed_any = true;
            std::fill_n(row, from.in, int8_t(0));
            for (int s = 0; i < depth && s < sets_; s++) {
                numbers[arrays_[size_t(depth + 1 + i * sets_ + s)].first + size_t(o)] = 0;
            }
        }
    }
    return changed_any;
}

}  // namespace llicti::fitting
