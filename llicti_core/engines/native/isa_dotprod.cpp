// Kernels for AArch64 processors with dot products: those of isa_neon.cpp, compiled with them.
#define LLICTI_DOTPROD
#include "isa_neon.cpp"
