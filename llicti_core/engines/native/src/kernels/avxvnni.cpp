// AVX2 with AVX-VNNI.
#define LLICTI_AVXVNNI
#include "kernels/simd_avx2.hpp"
// The vectors come first.
#include "kernels/step.hpp"

namespace llicti {

const Kernels kAvxvnniKernels = {"avxvnni", pack, encode, decode, Simd::put_on, read_row, write_row};

}  // namespace llicti
