// Which kernels run: asks the processor what it has.
#include "dispatch.hpp"

#include <stdexcept>

#ifdef LLICTI_HAVE_AVXVNNI
#include <cpuid.h>
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

#ifdef LLICTI_HAVE_AVXVNNI
// Compilers do not know its name yet.
bool has_avxvnni() {
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
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
#ifdef LLICTI_HAVE_AVX512
    {&kAvx512Kernels, has_avx512},
#endif
#ifdef LLICTI_HAVE_AVXVNNI
    {&kAvxvnniKernels, has_avxvnni},
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

const fitting::FitKernels& find_fit_kernels(const std::string& name) {
    find_kernels(name);  // throws where there is no such set
#ifdef LLICTI_ADAPT_AVX512
    if ((name.empty() || name == "avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        return fitting::kAvx512Fit;
    }
#endif
#ifdef LLICTI_ADAPT_AVX2
    if (name != "generic" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return fitting::kAvx2Fit;
#endif
#ifdef LLICTI_ADAPT_NEON
    if (name != "generic") return fitting::kNeonFit;
#endif
    return fitting::kGenericFit;
}

const Kernels& find_kernels(const std::string& name) {
    for (const Kernels* kernels : supported_kernels()) {
        if (name.empty() || name == kernels->name) return *kernels;
    }
    throw std::invalid_argument("this processor or build has no kernels for '" + name + "'");
}

}  // namespace llicti
