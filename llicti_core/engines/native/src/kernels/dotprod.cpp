// NEON with dot products.
#define LLICTI_DOTPROD
#include "kernels/simd_neon.hpp"
// The vectors come first.
#include "kernels/step.hpp"

namespace llicti {

const Kernels kDotprodKernels = {"dotprod", pack, encode, decode, Simd::put_on, read_row, write_row};

}  // namespace llicti
