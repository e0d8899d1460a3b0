// Kernels for AArch64 processors with dot products: those of neon.cpp, compiled with them.
#define LLICTI_DOTPROD
#include "neon.cpp"
