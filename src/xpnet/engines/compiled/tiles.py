"""Register tiles: the inner loop of a matrix product, written in vectors for LLVM.

A tile keeps rows of whole vectors of sums in registers while it runs over k::

    c[i, :] = sum over k of a[i, k] * b[k, :]

``a`` is read one number at a time, with any strides, so its transpose costs nothing; ``b`` and
``c`` in whole vectors of consecutive numbers. All three lie in one workspace ``w``, where ``a``,
``b`` and ``c`` are offsets. Nothing is masked: whoever lays out the workspace pads it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

ROWS = 8
FEATURES = cpu_target.target_context.codegen().magic_tuple()[2]
# Bytes of a vector. Sixteen are right everywhere: LLVM makes loops of them where there are none.
BYTES = 64 if "+avx512f" in FEATURES else 32 if "+avx2" in FEATURES else 16
WIDE = 2 * BYTES  # bytes of a row of the widest tile
WIDE_ROWS = 4 if BYTES == 32 else ROWS  # AVX2 has 16 registers, the others have 32

word = ir.IntType(64)


def constant(value: int) -> Any:
    return ir.Constant(word, value)


def tile(row: int, rows: int = ROWS, vector: int = BYTES) -> Any:
    """The tile of ``rows`` rows of ``row`` bytes, in vectors of ``vector`` bytes, for Numba.

    It is called as ``tile(w, a, a_row, a_k, b, b_k, c, c_row, depth)``, where ``depth`` is the
    length of the sums, and the others are offsets and strides in numbers.
    """

    @intrinsic
    def multiply(typingctx, w, a, a_row, a_k, b, b_k, c, c_row, depth):  # type: ignore[no-untyped-def]
        n = types.intp
        return types.void(w, n, n, n, n, n, n, n, n), codegen

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, (w, a, a_row, a_k, b, b_k, c, c_row, depth) = signature.args[0], args
        real = context.get_data_type(array.dtype)
        size = context.get_abi_sizeof(real)
        lanes = min(vector, row) // size
        vectors = range(row // (lanes * size))
        pack = ir.VectorType(real, lanes)
        first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        base = context.make_array(array)(context, builder, w).data

        def pointer(offset: Any, number: int) -> Any:
            offset = builder.add(offset, constant(number * lanes))
            return builder.bitcast(builder.gep(base, [offset]), pack.as_pointer())

        def broadcast(offset: Any) -> Any:
            undefined = ir.Constant(pack, ir.Undefined)
            x = builder.load(builder.gep(base, [offset]))
            x = builder.insert_element(undefined, x, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(x, undefined, first_lane)

        def fused(x: Any, y: Any, total: Any) -> Any:
            return builder.fadd(total, builder.fmul(x, y, flags=["contract"]), flags=["contract"])

        def row_of(start: Any, stride: Any, i: Any) -> Any:
            return builder.add(start, builder.mul(stride, i))

        numbers = [constant(i) for i in range(rows)]
        places = [pointer(row_of(c, c_row, i), v) for i in numbers for v in vectors]
        zero = ir.Constant(pack, [ir.Constant(real, 0.0)] * lanes)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in places]
        with cgutils.for_range(builder, depth) as loop:
            a_now, b_now = row_of(a, a_k, loop.index), row_of(b, b_k, loop.index)
            right = [builder.load(pointer(b_now, v), align=size) for v in vectors]
            for i in numbers:
                x = broadcast(row_of(a_now, a_row, i))
                for v in vectors:
                    total = sums[i.constant * len(vectors) + v]
                    builder.store(fused(x, right[v], builder.load(total)), total)
        for place, total in zip(places, sums, strict=True):
            builder.store(builder.load(total), place, align=size)
        return context.get_dummy_value()

    return multiply
