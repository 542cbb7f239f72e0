// hipBLAS: the routines that CuPy calls for real numbers. What is missing here is a loud stub.
#include <algorithm>
#include <cmath>
#include <cstdio>

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
