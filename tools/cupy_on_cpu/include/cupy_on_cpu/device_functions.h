// The functions of the device library that CuPy's kernels and ours call: arithmetic, bits, atomics, conversions.
#pragma once
#include <math.h>  // not <cmath>: exp(float) in the global namespace must be the float overload, as in CUDA

#include <cassert>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <type_traits>

// NVRTC knows neither name; a kernel that uses one must fail here too, not first on somebody's GPU.
#undef INFINITY
#undef NAN

// ---- smaller and larger: as in CUDA, two numbers of different types are first made one type, and NaN loses
template <class A, class B, class Common = std::common_type_t<A, B>,
          class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
static inline Common min(A a, B b) {
    if constexpr (std::is_floating_point_v<Common>) return fmin(Common(a), Common(b));
    else return Common(b) < Common(a) ? Common(b) : Common(a);
}
template <class A, class B, class Common = std::common_type_t<A, B>,
          class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
static inline Common max(A a, B b) {
    if constexpr (std::is_floating_point_v<Common>) return fmax(Common(a), Common(b));
    else return Common(a) < Common(b) ? Common(b) : Common(a);
}

// ---- arithmetic that C++ lacks
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
// Macros, because glibc keeps functions of its own under these names.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
template <class T> static inline T __ldg(const T* address) { return *address; }

// ---- bits
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }

namespace cupy_on_cpu {
template <class To, class From> inline To same_bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &value, sizeof(To));
    return result;
}
}  // namespace cupy_on_cpu

static inline int __float_as_int(float x) { return cupy_on_cpu::same_bits<int>(x); }
static inline float __int_as_float(int x) { return cupy_on_cpu::same_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return cupy_on_cpu::same_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return cupy_on_cpu::same_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return cupy_on_cpu::same_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return cupy_on_cpu::same_bits<double>(x); }

// ---- atomics: one thread runs at a time, and it is never interrupted, so plain reads and writes are atomic.
// Not templates: CuPy's atomics.cuh adds overloads of the same names.
template <class T> static inline T atomicCAS(T* address, T expected, T desired) {
    const T old = *address;
    if (old == expected) *address = desired;
    return old;
}
#define CUPY_ON_CPU_ATOMIC(NAME, T, VALUE)                  \
    static inline T NAME(T* address, T value) {             \
        const T old = *address;                             \
        *address = VALUE;                                   \
        return old;                                         \
    }
#define CUPY_ON_CPU_INTEGER_ATOMICS(T)                                  \
    CUPY_ON_CPU_ATOMIC(atomicAdd, T, old + value)                       \
    CUPY_ON_CPU_ATOMIC(atomicSub, T, old - value)                       \
    CUPY_ON_CPU_ATOMIC(atomicExch, T, value)                            \
    CUPY_ON_CPU_ATOMIC(atomicMin, T, value < old ? value : old)         \
    CUPY_ON_CPU_ATOMIC(atomicMax, T, old < value ? value : old)         \
    CUPY_ON_CPU_ATOMIC(atomicAnd, T, old & value)                       \
    CUPY_ON_CPU_ATOMIC(atomicOr, T, old | value)                        \
    CUPY_ON_CPU_ATOMIC(atomicXor, T, old ^ value)
CUPY_ON_CPU_INTEGER_ATOMICS(int)
CUPY_ON_CPU_INTEGER_ATOMICS(unsigned)
CUPY_ON_CPU_INTEGER_ATOMICS(unsigned long long)
CUPY_ON_CPU_ATOMIC(atomicAdd, float, old + value)
CUPY_ON_CPU_ATOMIC(atomicAdd, double, old + value)
CUPY_ON_CPU_ATOMIC(atomicExch, float, value)
#undef CUPY_ON_CPU_INTEGER_ATOMICS
#undef CUPY_ON_CPU_ATOMIC

// ---- float16: only what CuPy's float16.cuh needs to convert; arithmetic on it goes through float
static inline unsigned short __float2half_rn(float x) { return cupy_on_cpu::same_bits<unsigned short>((_Float16)x); }
static inline float __half2float(unsigned short bits) { return (float)cupy_on_cpu::same_bits<_Float16>(bits); }
#define __half_as_ushort(x) (*(const unsigned short*)&(x))
#define __ushort_as_half(bits) (half(__half_raw{(unsigned short)(bits)}))
