// The words that CUDA C++ adds to C++: qualifiers, barriers, operations within a warp.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "launch.h"

#define __global__
#define __device__
#define __host__
#define __constant__ __attribute__((visibility("default")))  // found by name through RawModule.get_global
#define __shared__ static                                    // blocks run one after the other, so one copy serves
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))

static const int warpSize = 64;  // as HIP says; see the README for masks of 32 bits

static inline void __syncthreads() { cupy_on_cpu_block_barrier(); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}

namespace cupy_on_cpu {

// A mask of 64 bits is HIP's and means a wavefront of 64 lanes. One of 32 bits, which HIP would refuse, is CUDA's and
// means a warp of 32: so kernels written for CUDA run as they will run there.
template <class Mask> constexpr unsigned lanes_of() { return sizeof(Mask) == 8 ? 64 : 32; }
template <class Mask> constexpr uint64_t bits_of(Mask mask) { return std::make_unsigned_t<Mask>(mask); }

inline unsigned lane_number(unsigned lanes) {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % lanes;
}

template <class T> inline T shuffle(uint64_t mask, unsigned lanes, T value, unsigned source_lane) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = cupy_on_cpu_warp(warp_shuffle, mask, lanes, bits, source_lane);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

// Which lane each kind of shuffle reads; a lane outside the segment of `width` lanes means: keep your own.
inline unsigned indexed_lane(unsigned self, int source, int width) {
    return (self & ~(width - 1)) + (source & (width - 1));
}
inline unsigned upper_lane(unsigned self, unsigned delta, int width) {
    return (self & (width - 1)) < delta ? self : self - delta;
}
inline unsigned lower_lane(unsigned self, unsigned delta, int width) {
    return (self & (width - 1)) + delta >= unsigned(width) ? self : self + delta;
}
inline unsigned crossed_lane(unsigned self, int bits, int width) {
    const unsigned other = self ^ bits;
    return other >= ((self + width) & ~(width - 1)) ? self : other;
}

}  // namespace cupy_on_cpu

#define CUPY_ON_CPU_SHUFFLE(NAME, LANE, Selector)                                                             \
    template <class Mask, class T>                                                                            \
    static inline T NAME##_sync(Mask mask, T value, Selector selector, int width = cupy_on_cpu::lanes_of<Mask>()) { \
        constexpr unsigned lanes = cupy_on_cpu::lanes_of<Mask>();                                             \
        const unsigned source = cupy_on_cpu::LANE(cupy_on_cpu::lane_number(lanes), selector, width);          \
        return cupy_on_cpu::shuffle(cupy_on_cpu::bits_of(mask), lanes, value, source);                        \
    }                                                                                                         \
    template <class T> static inline T NAME(T value, Selector selector, int width = warpSize) {               \
        const unsigned source = cupy_on_cpu::LANE(cupy_on_cpu::lane_number(64), selector, width);             \
        return cupy_on_cpu::shuffle(0, 64, value, source);                                                    \
    }
CUPY_ON_CPU_SHUFFLE(__shfl, indexed_lane, int)
CUPY_ON_CPU_SHUFFLE(__shfl_up, upper_lane, unsigned)
CUPY_ON_CPU_SHUFFLE(__shfl_down, lower_lane, unsigned)
CUPY_ON_CPU_SHUFFLE(__shfl_xor, crossed_lane, int)
#undef CUPY_ON_CPU_SHUFFLE

template <class Mask> static inline std::make_unsigned_t<Mask> __ballot_sync(Mask mask, int predicate) {
    using namespace cupy_on_cpu;
    return cupy_on_cpu_warp(warp_vote, bits_of(mask), lanes_of<Mask>(), predicate != 0, 0);
}
template <class Mask> static inline int __any_sync(Mask mask, int predicate) {
    return __ballot_sync(mask, predicate) != 0;
}
template <class Mask> static inline int __all_sync(Mask mask, int predicate) {
    return __ballot_sync(mask, !predicate) == 0;
}
static inline uint64_t __ballot(int predicate) {
    return cupy_on_cpu_warp(cupy_on_cpu::warp_vote, 0, 64, predicate != 0, 0);
}
static inline void __syncwarp(uint64_t = 0) { cupy_on_cpu_warp(cupy_on_cpu::warp_barrier, 0, 64, 0, 0); }
