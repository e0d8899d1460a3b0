// AVX-512 with VNNI and VBMI.
#include "kernels/simd_avx512.hpp"
// The vectors come first.
#include "kernels/step.hpp"

namespace llicti {

const Kernels kAvx512Kernels = {"avx512", pack, encode, decode, Simd::put_on, read_row, write_row};

}  // namespace llicti
