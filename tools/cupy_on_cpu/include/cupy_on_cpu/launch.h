// What a compiled kernel and the shim know of each other.
//
// A kernel becomes a host function. Next to it, DESCRIBE_KERNEL exports one KernelDescription, with which the shim
// copies the arguments at launch time and runs the grid later.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
using uint3 = dim3;

namespace cupy_on_cpu {
enum WarpOperation { warp_barrier, warp_shuffle, warp_vote };
}

// What the shim offers to kernels. It runs one kernel at a time, one thread of it at a time: plain globals are enough.
// The functions give the processor to another thread of the block (src/fibers.cpp).
extern "C" {
extern dim3 threadIdx, blockIdx, blockDim, gridDim;
extern char cupy_on_cpu_dynamic_shared[];
void cupy_on_cpu_block_barrier();
uint64_t cupy_on_cpu_warp(cupy_on_cpu::WarpOperation operation, uint64_t mask, unsigned lanes, uint64_t value,
                          unsigned source_lane);
}

namespace cupy_on_cpu {

struct KernelDescription {
    std::size_t parameter_count;
    const std::size_t* parameter_sizes;         // bytes of each parameter
    void (*run_thread)(void** arguments);       // one thread, at the current indices
    void (*run_block)(void** arguments, unsigned first, int step);  // every thread of a block, one after the other
    bool has_barriers;                          // threads must be able to wait for each other
};

// Moves threadIdx to the thread with this flat number.
inline void select_thread(unsigned flat) {
    threadIdx.x = flat % blockDim.x;
    threadIdx.y = flat / blockDim.x % blockDim.y;
    threadIdx.z = flat / blockDim.x / blockDim.y;
}

template <auto function, class Signature = decltype(function)> struct Kernel;

template <auto function, class... Parameters> struct Kernel<function, void (*)(Parameters...)> {
    static constexpr std::size_t sizes[sizeof...(Parameters) + 1] = {sizeof(Parameters)..., 0};

    template <std::size_t... i> static inline void call(void** arguments, std::index_sequence<i...>) {
        function(*static_cast<Parameters*>(arguments[i])...);
    }
    static void run_thread(void** arguments) { call(arguments, std::index_sequence_for<Parameters...>{}); }

    // The loop lives here, not in the shim, so that the compiler inlines the kernel into it.
    static void run_block(void** arguments, unsigned first, int step) {
        const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
        for (unsigned done = 0, flat = first; done < threads; ++done, flat += step) {
            select_thread(flat);
            call(arguments, std::index_sequence_for<Parameters...>{});
        }
    }
    static constexpr KernelDescription describe(bool has_barriers) {
        return {sizeof...(Parameters), sizes, run_thread, run_block, has_barriers};
    }
};

}  // namespace cupy_on_cpu

// The last arguments are the kernel itself; a template instance such as kernel<int, float> contains commas.
#define DESCRIBE_KERNEL(NAME, HAS_BARRIERS, ...)                                                           \
    extern "C" __attribute__((visibility("default"))) const cupy_on_cpu::KernelDescription                \
        cupy_on_cpu_kernel_##NAME = cupy_on_cpu::Kernel<&__VA_ARGS__>::describe(HAS_BARRIERS);
