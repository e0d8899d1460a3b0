// Asks the processor, and for AMX the operating system, what they have.
#include "processor.hpp"

#include <stdexcept>

#ifdef LLICTI_HAVE_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef LLICTI_HAVE_DOTPROD
#include <sys/auxv.h>
#endif

namespace llicti {
namespace {

#ifdef LLICTI_HAVE_AVX2
bool has_avx2() { return __builtin_cpu_supports("avx2"); }
#endif

#ifdef LLICTI_HAVE_AVX512
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
}
#endif

#ifdef LLICTI_HAVE_AMX
// Linux hands out the tiles' 8 KiB of state only to processes that ask for it, and refuses where it knows no tiles.
bool request_tiles() {
    constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool has_amx() {
    constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    static const bool permitted = (d & kTile) && (d & kInt8) && has_avx512() && request_tiles();
    return permitted;
}
#endif

#ifdef LLICTI_HAVE_DOTPROD
bool has_dotprod() { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
#endif

}  // namespace

std::vector<const Kernels*> supported_kernels() {
    std::vector<const Kernels*> kernels;
#ifdef LLICTI_HAVE_AMX
    if (has_amx()) kernels.push_back(&kAmxKernels);
#endif
#ifdef LLICTI_HAVE_AVX512
    if (has_avx512()) kernels.push_back(&kAvx512Kernels);
#endif
#ifdef LLICTI_HAVE_AVX2
    if (has_avx2()) kernels.push_back(&kAvx2Kernels);
#endif
#ifdef LLICTI_HAVE_DOTPROD
    if (has_dotprod()) kernels.push_back(&kDotprodKernels);
#endif
#ifdef LLICTI_HAVE_NEON
    kernels.push_back(&kNeonKernels);
#endif
    kernels.push_back(&kGenericKernels);
    return kernels;
}

const Kernels& find_kernels(const std::string& name) {
    for (const Kernels* kernels : supported_kernels()) {
        if (name.empty() || name == kernels->name) return *kernels;
    }
    throw std::invalid_argument("this processor or build has no kernels for '" + name + "'");
}

}  // namespace llicti
