// NEON.
#include "kernels/simd_neon.hpp"
// The vectors come first.
#include "kernels/step.hpp"

namespace llicti {

const Kernels kNeonKernels = {"neon", pack, encode, decode, Simd::put_on, read_row, write_row};

}  // namespace llicti
