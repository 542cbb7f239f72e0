// C = alpha op(A) op(B) + beta C, all column-major, for float and double.
//
// The usual three steps (Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication"): cut along k and m
// so that the packed piece of A stays in the cache, pack both operands so that the inner loop reads in order, and keep a
// small tile of C in registers.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

namespace gemm_detail {

template <class T> struct Tile {
    typedef T Vector __attribute__((vector_size(32)));
    static constexpr long lanes = sizeof(Vector) / sizeof(T);
    static constexpr long rows = 2 * lanes, columns = 6;  // 12 accumulators: with 16 registers no spill
    static constexpr long k_piece = 256, m_piece = 12 * rows;
};

// A matrix seen through its transpose flag.
template <class T> struct View {
    const T* data;
    long row_stride, column_stride;
    View(const T* data, long leading, bool transposed)
        : data(data), row_stride(transposed ? leading : 1), column_stride(transposed ? 1 : leading) {}
    const T& operator()(long row, long column) const { return data[row * row_stride + column * column_stride]; }
};

// Packs rows [row, row + rows) of A, columns [k, k + depth), in strips of Tile::rows; short strips end with zeros.
template <class T> void pack_a(const View<T>& a, long row, long rows, long k, long depth, T* packed) {
    for (long strip = 0; strip < rows; strip += Tile<T>::rows)
        for (long p = 0; p < depth; ++p)
            for (long i = 0; i < Tile<T>::rows; ++i)
                *packed++ = strip + i < rows ? a(row + strip + i, k + p) : T(0);
}

template <class T> void pack_b(const View<T>& b, long k, long depth, long columns, T* packed) {
    for (long strip = 0; strip < columns; strip += Tile<T>::columns)
        for (long p = 0; p < depth; ++p)
            for (long j = 0; j < Tile<T>::columns; ++j)
                *packed++ = strip + j < columns ? b(k + p, strip + j) : T(0);
}

// One tile: result (columns x rows) = sum over p of a strip's column p times b strip's row p.
template <class T> void multiply_tile(long depth, const T* a, const T* b, T* result) {
    using Vector = typename Tile<T>::Vector;
    Vector sum[Tile<T>::columns][2] = {};
    for (long p = 0; p < depth; ++p) {
        Vector upper, lower;
        std::memcpy(&upper, a, sizeof upper);
        std::memcpy(&lower, a + Tile<T>::lanes, sizeof lower);
        for (long j = 0; j < Tile<T>::columns; ++j) {
            sum[j][0] += upper * b[j];
            sum[j][1] += lower * b[j];
        }
        a += Tile<T>::rows;
        b += Tile<T>::columns;
    }
    std::memcpy(result, sum, sizeof sum);
}

// BLAS does not read C where beta is zero: it may hold NaN.
template <class T> void scale(long m, long n, T beta, T* c, long ldc) {
    if (beta == T(1)) return;
    for (long j = 0; j < n; ++j)
        for (long i = 0; i < m; ++i) c[j * ldc + i] = beta == T(0) ? T(0) : beta * c[j * ldc + i];
}

template <class T> void add_tile(const T* tile, long rows, long columns, T alpha, T* c, long ldc) {
    for (long j = 0; j < columns; ++j)
        for (long i = 0; i < rows; ++i) c[j * ldc + i] += alpha * tile[j * Tile<T>::rows + i];
}

}  // namespace gemm_detail

template <class T>
void gemm(bool transpose_a, bool transpose_b, long m, long n, long k, T alpha, const T* a, long lda, const T* b, long ldb,
          T beta, T* c, long ldc) {
    using namespace gemm_detail;
    using Size = Tile<T>;
    scale(m, n, beta, c, ldc);
    if (alpha == T(0)) return;
    const View<T> view_a(a, lda, transpose_a), view_b(b, ldb, transpose_b);
    const long padded_n = (n + Size::columns - 1) / Size::columns * Size::columns;
    std::vector<T> packed_a(Size::m_piece * Size::k_piece), packed_b(padded_n * std::min(k, Size::k_piece));
    T tile[Size::rows * Size::columns];
    for (long p = 0; p < k; p += Size::k_piece) {
        const long depth = std::min(Size::k_piece, k - p);
        pack_b(view_b, p, depth, n, packed_b.data());
        for (long row = 0; row < m; row += Size::m_piece) {
            const long rows = std::min(Size::m_piece, m - row);
            pack_a(view_a, row, rows, p, depth, packed_a.data());
            for (long j = 0; j < n; j += Size::columns)
                for (long i = 0; i < rows; i += Size::rows) {
                    multiply_tile(depth, &packed_a[i * depth], &packed_b[j * depth], tile);
                    add_tile(tile, std::min(Size::rows, rows - i), std::min(Size::columns, n - j), alpha,
                             c + j * ldc + row + i, ldc);
                }
        }
    }
}
