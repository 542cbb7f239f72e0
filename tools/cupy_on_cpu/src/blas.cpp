// hipBLAS: the routines that CuPy calls for real numbers. What is missing here is a loud stub. At the end the few names of
// cuBLAS that xpnet calls itself.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "api.h"
#include "counters.h"
#include "devices.h"
#include "gemm.h"
#include "settings.h"

namespace {

enum Status { ok = 0, bad_value = 3, status_not_supported = 7 };
enum Operation { no_transpose = 111, transpose = 112, conjugate_transpose = 113 };
enum PointerMode { scalars_on_host = 0, scalars_on_device = 1 };
enum DataType { real_float = 0, real_double = 1 };

struct Handle {
    Device& device;
    std::shared_ptr<Stream> stream;
    PointerMode mode = scalars_on_host;
    void* workspace = nullptr;  // a user's own, cuBLAS only
    std::size_t workspace_bytes = 0;
};

// alpha or beta: a number of the host, taken at the call, or one of the device, read when the work is done.
template <class T> struct Scalar {
    T value;
    const T* on_device;
    Scalar(const Handle& handle, const T* pointer) : value(), on_device(nullptr) {
        if (handle.mode == scalars_on_host) value = *pointer;
        else on_device = pointer;
    }
    T get() const { return on_device ? *on_device : value; }
};

bool is_device_memory(const void* address) {
    const Block* block = find_block(address);
    return block && block->on_device();
}

template <class Work> Status submit(Handle& handle, const char* name, Work work) {
    ++counters.blas;
    log_line("%s on device %d", name, handle.device.number);
    if (settings().execute) handle.stream->submit_work(handle.device.reachable(), std::move(work));
    return ok;
}

// A result on the host makes the call wait for it.
template <class T, class Work> Status submit_with_result(Handle& handle, const char* name, T* result, Work compute) {
    const Status status = submit(handle, name, [=] { *result = compute(); });
    if (handle.mode == scalars_on_device) return status;
    ++counters.syncs;
    handle.stream->run_all();
    return status;
}

template <class T> struct MatrixProduct {
    Operation operation_a, operation_b;
    int m, n, k;
    Scalar<T> alpha;
    int lda, ldb;
    Scalar<T> beta;
    int ldc;

    void run(const T* a, const T* b, T* c) const {
        gemm<T>(operation_a != no_transpose, operation_b != no_transpose, m, n, k, alpha.get(), a, lda, b, ldb, beta.get(),
                c, ldc);
    }
    bool is_legal() const {
        const int rows_a = operation_a == no_transpose ? m : k, rows_b = operation_b == no_transpose ? k : n;
        return m >= 0 && n >= 0 && k >= 0 && lda >= std::max(1, rows_a) && ldb >= std::max(1, rows_b) &&
               ldc >= std::max(1, m);
    }
};

template <class T>
Status multiply(Handle& handle, const MatrixProduct<T>& product, const T* a, long step_a, const T* b, long step_b, T* c,
                long step_c, int count) {
    if (!product.is_legal() || !is_device_memory(a) || !is_device_memory(b) || !is_device_memory(c)) return bad_value;
    ++counters.gemms;
    return submit(handle, "gemm", [=] {
        for (long i = 0; i < count; ++i) product.run(a + i * step_a, b + i * step_b, c + i * step_c);
    });
}

template <class T>
Status multiply_pointers(Handle& handle, const MatrixProduct<T>& product, const T* const* a, const T* const* b, T* const* c,
                         int count) {
    if (!product.is_legal() || !is_device_memory(a) || !is_device_memory(b) || !is_device_memory(c)) return bad_value;
    ++counters.gemms;
    return submit(handle, "gemmBatched", [=] {
        for (int i = 0; i < count; ++i) product.run(a[i], b[i], c[i]);
    });
}

template <class T> T dot_product(int n, const T* x, long step_x, const T* y, long step_y) {
    T sum = 0;
    for (long i = 0; i < n; ++i) sum += x[i * step_x] * y[i * step_y];
    return sum;
}

template <class T> T absolute_sum(int n, const T* x, long step) {
    T sum = 0;
    for (long i = 0; i < n; ++i) sum += std::fabs(x[i * step]);
    return sum;
}

}  // namespace

// ---- handles

FAKEHIP_API Status hipblasCreate(Handle** handle) {
    Lock lock;
    *handle = new Handle{current_device(), current_device().null_stream};
    return ok;
}
FAKEHIP_API Status hipblasDestroy(Handle* handle) { return delete handle, ok; }

// On CUDA, CuPy refuses BLAS while a stream captures (cublas.setStream raises NotImplementedError); its ROCm build does
// not look, so the refusal is made here.
FAKEHIP_API Status hipblasSetStream(Handle* handle, void* stream_handle) {
    Lock lock;
    const auto stream = stream_handle ? find_stream(stream_handle) : handle->device.null_stream;
    if (!stream || &stream->device != &handle->device) return bad_value;
    if (stream->capture && !settings().blas_in_capture) return status_not_supported;
    handle->stream = stream;
    return ok;
}
FAKEHIP_API Status hipblasGetStream(Handle* handle, void** stream) {
    const bool is_null_stream = handle->stream == handle->device.null_stream;
    *stream = is_null_stream ? nullptr : handle->stream.get();
    return ok;
}
FAKEHIP_API Status hipblasSetPointerMode(Handle* handle, PointerMode mode) { return handle->mode = mode, ok; }
FAKEHIP_API Status hipblasGetPointerMode(Handle* handle, PointerMode* mode) { return *mode = handle->mode, ok; }

// ---- routines of one type

#define T float
#define ROUTINE(name) hipblasS##name
#include "blas_routines.inc"
#undef T
#undef ROUTINE

#define T double
#define ROUTINE(name) hipblasD##name
#include "blas_routines.inc"
#undef T
#undef ROUTINE

// ---- the routines that are told their types

FAKEHIP_API Status hipblasGemmStridedBatchedEx(Handle* h, Operation ta, Operation tb, int m, int n, int k,
                                               const void* alpha, const void* a, DataType type_a, int lda, long step_a,
                                               const void* b, DataType type_b, int ldb, long step_b, const void* beta,
                                               void* c, DataType type_c, int ldc, long step_c, int count, int, int) {
    const auto typed = [&](auto zero) {
        using T = decltype(zero);
        Lock lock;
        const Scalar<T> scale(*h, (const T*)alpha), keep(*h, (const T*)beta);
        return multiply<T>(*h, {ta, tb, m, n, k, scale, lda, ldb, keep, ldc}, (const T*)a, step_a, (const T*)b, step_b,
                           (T*)c, step_c, count);
    };
    if (type_a != type_b || type_a != type_c) return status_not_supported;
    if (type_a == real_float) return typed(0.0f);
    if (type_a == real_double) return typed(0.0);
    fprintf(stderr, "fakehip: a matrix product of data type %d is not implemented\n", type_a);
    return status_not_supported;
}

FAKEHIP_API Status hipblasGemmEx(Handle* h, Operation ta, Operation tb, int m, int n, int k, const void* alpha,
                                 const void* a, DataType type_a, int lda, const void* b, DataType type_b, int ldb,
                                 const void* beta, void* c, DataType type_c, int ldc, int compute_type, int algorithm) {
    return hipblasGemmStridedBatchedEx(h, ta, tb, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c, type_c,
                                       ldc, 0, 1, compute_type, algorithm);
}

// ---- cuBLAS

namespace {

enum CudaStatus { cuda_ok = 0, cuda_bad_value = 7, cuda_internal_error = 14, cuda_not_supported = 15 };
enum ComputeType { compute_float = 68, compute_double = 70, fast_bfloat16 = 75, fast_tf32 = 77 };

// The nearest number with so many bits of fraction. Ties: to even for bfloat16, away from zero for TF32.
float rounded(float x, int kept, bool ties_to_even) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7f800000u) == 0x7f800000u) return x;  // infinity or NaN
    const std::uint32_t unit = 1u << (23 - kept), half = unit >> 1;
    bits += ties_to_even ? half - 1 + ((bits & unit) != 0) : half;
    bits &= ~(unit - 1);
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

std::vector<float> rounded(const float* x, int rows, int columns, int leading, ComputeType compute) {
    std::vector<float> copy((std::size_t)leading * (columns - 1) + rows);
    for (long j = 0; j < columns; ++j)
        for (long i = 0; i < rows; ++i)
            copy[j * leading + i] = rounded(x[j * leading + i], compute == fast_tf32 ? 10 : 7, compute == fast_bfloat16);
    return copy;
}

// A product may use the workspace for partial sums: whoever keeps something else there loses it.
void scribble(void* workspace, std::size_t bytes) {
    if (workspace) std::memset(workspace, 0xff, std::min<std::size_t>(bytes, 4096));
}

template <class T>
CudaStatus multiply_rounded(Handle& handle, const MatrixProduct<T>& product, const T* a, const T* b, T* c, ComputeType compute) {
    if (!product.is_legal() || !is_device_memory(a) || !is_device_memory(b) || !is_device_memory(c)) return cuda_bad_value;
    ++counters.gemms;
    const auto workspace = handle.workspace;
    const auto bytes = handle.workspace_bytes;
    submit(handle, "gemmEx", [=] {
        scribble(workspace, bytes);
        if constexpr (std::is_same_v<T, float>) {
            if (compute == fast_tf32 || compute == fast_bfloat16) {
                const bool flip_a = product.operation_a != no_transpose, flip_b = product.operation_b != no_transpose;
                const auto x = rounded(a, flip_a ? product.k : product.m, flip_a ? product.m : product.k, product.lda, compute);
                const auto y = rounded(b, flip_b ? product.n : product.k, flip_b ? product.k : product.n, product.ldb, compute);
                return product.run(x.data(), y.data(), c);
            }
        }
        product.run(a, b, c);
    });
    return cuda_ok;
}

}  // namespace

FAKEHIP_API CudaStatus cublasCreate_v2(Handle** handle) { return hipblasCreate(handle), cuda_ok; }
FAKEHIP_API CudaStatus cublasDestroy_v2(Handle* handle) { return hipblasDestroy(handle), cuda_ok; }

// It may be a stream that captures: cuBLAS has no objection, only CuPy has.
FAKEHIP_API CudaStatus cublasSetStream_v2(Handle* handle, void* stream_handle) {
    Lock lock;
    const auto stream = stream_handle ? find_stream(stream_handle) : handle->device.null_stream;
    if (!stream || &stream->device != &handle->device) return cuda_bad_value;
    handle->stream = stream;
    handle->workspace = nullptr;  // as the manual says
    return cuda_ok;
}

FAKEHIP_API CudaStatus cublasSetWorkspace_v2(Handle* handle, void* workspace, std::size_t bytes) {
    Lock lock;
    if ((std::uintptr_t)workspace % 256 || !is_device_memory(workspace)) return cuda_bad_value;
    handle->workspace = workspace;
    handle->workspace_bytes = bytes;
    return cuda_ok;
}

FAKEHIP_API CudaStatus cublasGemmEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                                    DataType type_a, int lda, const void* b, DataType type_b, int ldb, const void* beta,
                                    void* c, DataType type_c, int ldc, ComputeType compute, int) {
    Lock lock;
    if (h->stream->capture && !h->workspace) return cuda_internal_error;  // it would have to allocate one
    const auto operation = [](int flip) { return flip ? transpose : no_transpose; };
    const auto typed = [&](auto zero) {
        using T = decltype(zero);
        const Scalar<T> scale(*h, (const T*)alpha), keep(*h, (const T*)beta);
        return multiply_rounded<T>(*h, {operation(ta), operation(tb), m, n, k, scale, lda, ldb, keep, ldc}, (const T*)a,
                                   (const T*)b, (T*)c, compute);
    };
    if (type_a != type_b || type_a != type_c) return cuda_not_supported;
    if (type_a == real_float && compute != compute_double && compute >= compute_float) return typed(0.0f);
    if (type_a == real_double && compute == compute_double) return typed(0.0);
    return cuda_not_supported;
}
