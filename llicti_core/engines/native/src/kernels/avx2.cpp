// AVX2.
#include "kernels/simd_avx2.hpp"
// The vectors come first.
#include "kernels/step.hpp"

namespace llicti {

const Kernels kAvx2Kernels = {"avx2", pack, encode, decode, Simd::put_on, read_row, write_row};

}  // namespace llicti
