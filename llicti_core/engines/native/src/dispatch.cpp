// Which kernels run: asks the processor, and for AMX the operating system, what they have.
#include "dispatch.hpp"

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
    return (d & kTile) && (d & kInt8) && has_avx512() && request_tiles();
}
#endif

#ifdef LLICTI_HAVE_DOTPROD
bool has_dotprod() { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
#endif

bool always() { return true; }

// Every set that this build has, fastest first, and whether the processor has it.
struct Candidate {
    const Kernels* kernels;
    bool (*supported)();
};

constexpr Candidate kCandidates[] = {
#ifdef LLICTI_HAVE_AMX
    {&kAmxKernels, has_amx},
#endif
#ifdef LLICTI_HAVE_AVX512
    {&kAvx512Kernels, has_avx512},
#endif
#ifdef LLICTI_HAVE_AVX2
    {&kAvx2Kernels, has_avx2},
#endif
#ifdef LLICTI_HAVE_DOTPROD
    {&kDotprodKernels, has_dotprod},
#endif
#ifdef LLICTI_HAVE_NEON
    {&kNeonKernels, always},
#endif
    {&kGenericKernels, always},
};

std::vector<const Kernels*> detect() {
    std::vector<const Kernels*> found;
    for (const Candidate& candidate : kCandidates) {
        if (candidate.supported()) found.push_back(candidate.kernels);
    }
    return found;
}

}  // namespace

const std::vector<const Kernels*>& supported_kernels() {
    static const std::vector<const Kernels*> found = detect();
    return found;
}

const Kernels& find_kernels(const std::string& name) {
    for (const Kernels* kernels : supported_kernels()) {
        if (name.empty() || name == kernels->name) return *kernels;
    }
    throw std::invalid_argument("this processor or build has no kernels for '" + name + "'");
}

}  // namespace llicti
