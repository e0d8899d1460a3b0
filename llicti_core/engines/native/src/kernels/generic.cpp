// Plain C++.
#include "kernels/simd_generic.hpp"
// The vectors come first.
#include "kernels/step.hpp"

namespace llicti {

const Kernels kGenericKernels = {"generic", pack, encode, decode, Simd::put_on, read_row, write_row};

}  // namespace llicti
