// From the numbers of a file to an adapted model.
#include "adaptation.hpp"

namespace llicti {

Adaptation unpack(const AdaptedParameters& stored, const Model& model) {
    Adaptation adaptation;
    size_t output = 0, hidden = 0;
    for (int i = 0; i < 3 * kLevels; i++) {
        const Layer& layer = last_hidden(model.bands[i % 3]);
        BandAdaptation& band = adaptation[i / 3][i % 3];
        const bool adapted = output < stored.outputs.size();
        for (int o = 0; o < kParameters; o++) {
            band.gain[o] = (1 << kGainShift) + (adapted ? stored.outputs[output + o] : 0);
            band.bias[o] =
                (adapted ? stored.outputs[output + kParameters + o] : 0) * (1 << (kFineShift + kGainShift - 1));
        }
        if (adapted) output += 2 * kParameters;
        const int32_t* biases = layer.biases(i / 3);
        band.hidden_bias.assign(biases, biases + layer.rows());
        const bool deep = hidden < stored.hidden.size();
        for (int o = 0; deep && o < layer.out; o++) {
            const int32_t multiplier = layer.multipliers(o)[0];
            const int32_t moved = stored.hidden[hidden++] * (kHiddenBiasUnit << kHiddenShift) + (multiplier >> 1);
            // Rounded down, also where it is negative.
            const int32_t hidden_bias_delta = moved / multiplier - (moved % multiplier < 0);
            band.hidden_bias[o] += hidden_bias_delta;
        }
    }
    return adaptation;
}

}  // namespace llicti
