// The interface between tile coding and the instruction-set dependent kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "adaptation.hpp"

namespace llicti {

constexpr int kChunk = 64;       // pixels whose parameters are computed together; they stay in the L1 and L2 caches
constexpr int kSampleRun = 8;    // neighbouring pixels that are sampled together
constexpr int kOutputRows = 64;  // kParameters, in whole row blocks

// Least and greatest of a channel's values; one whose bounds are equal is not coded.
struct Bounds {
    int low, high;
    bool coded() const { return low != high; }
};

// Where one neighbour's values are: `origin[channel]` is that of the band's pixel (0, 0).
struct Source {
    const int16_t* origin[3];
    ptrdiff_t stride;
};

// All that predicting a band of a tile takes.
struct BandContext {
    const Model* model;
    const Band* band;
    const BandAdaptation* adaptation;
    int level;
    int channels;
    int width;  // pixels in a row of the band
    Bounds bounds[3];
    Source sources[40];
    int16_t* target[3];  // the band's own pixels
    ptrdiff_t target_stride;
};

// A stream's lanes while decoding, and the words of the segment being read.
struct StreamDecoder {
    alignas(64) uint32_t state[kLanes];
    const uint8_t* words;
    const uint8_t* end;
};

constexpr int kHiddenFraction = kHiddenShift - kOutputShift;  // bits behind the point of sampled activations

// Pixels that an adaptation is fitted to: outputs before it, in their parameters' units, and values minus bases; and
// where biases of the last hidden layer are fitted too, its activations before they are cut off at 0 and
// kActivationMax.
struct SampleChunk {
    alignas(64) float output[kParameters][kChunk];
    alignas(64) float residual[3][kChunk];
    std::vector<int16_t> hidden;  // [channel, padded to 16][pixel], saturated
};

// What is searched for one band at one level.
struct Parameters {
    std::array<float, kParameters> gain{}, bias{};
    std::vector<float> hidden_bias_delta;  // [channel, padded to 16], in activations; or empty
};

// Slopes of the bits by each of them.
using Gradient = Parameters;

// An output layer in floats: parameter = sum over k of weight[k] * activation[k], + bias.
struct OutputLayer {
    explicit OutputLayer(const Layer& layer);

    int width;                  // inputs, padded to 16
    std::vector<float> weight;  // [input][kOutputRows], by output
    std::array<float, kParameters> bias;
};

struct Kernels {
    const char* name;
    // Write (cdf_low | frequency << 16) of pixels [start, stop) of the band, for every lane batch and coded
    // channel kLanes entries, in decoding order; entries of lanes past `stop` are zero. Returns the end.
    uint32_t* (*encode)(const BandContext&, int64_t start, int64_t stop, uint32_t* intervals);
    // Decode pixels [start, stop) of the band. Returns false where the words run out.
    bool (*decode)(const BandContext&, int64_t start, int64_t stop, StreamDecoder&);
    // Sample the runs of kSampleRun pixels that begin at each of `starts`, kChunk / kSampleRun of them; with or without
    // activations.
    void (*sample)(const BandContext&, const int64_t* starts, bool hidden, SampleChunk&);
    // Estimated bits of `count` chunks, sampled with activations where `at` changes hidden biases. Unless `gradient` is
    // null, it is set, and the bits are not computed.
    double (*estimate)(const SampleChunk*, int count, const OutputLayer&, const Bounds* bounds, int channels,
                       const Parameters& at, Gradient* gradient);
};

extern const Kernels kGenericKernels;
#ifdef LLICTI_HAVE_AMX
extern const Kernels kAmxKernels;
#endif
#ifdef LLICTI_HAVE_AVX512
extern const Kernels kAvx512Kernels;
#endif
#ifdef LLICTI_HAVE_AVX2
extern const Kernels kAvx2Kernels;
#endif
#ifdef LLICTI_HAVE_DOTPROD
extern const Kernels kDotprodKernels;
#endif
#ifdef LLICTI_HAVE_NEON
extern const Kernels kNeonKernels;
#endif

}  // namespace llicti
