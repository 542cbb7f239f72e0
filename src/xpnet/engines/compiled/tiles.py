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


def tile(row: int, rows: int = ROWS, accumulate: bool = False, vector: int = BYTES) -> Any:
    """The tile of ``rows`` rows of ``row`` bytes, in vectors of ``vector`` bytes, for Numba.

    It is called as ``tile(w, a, a_row, a_k, b, b_k, c, c_row, depth)``, where ``depth`` is the
    length of the sums, at least 1, and the others are offsets and strides in numbers. With
    ``accumulate`` it adds to what is in ``c``.
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

        def row_of(start: Any, stride: Any, i: int) -> Any:
            return builder.add(start, builder.mul(stride, constant(i)))

        places = [pointer(row_of(c, c_row, i), v) for i in range(rows) for v in vectors]
        zero = ir.Constant(pack, [ir.Constant(real, 0.0)] * lanes)
        starts = [builder.load(p, align=size) if accumulate else zero for p in places]
        left = [builder.mul(a_row, constant(i)) for i in range(rows)]
        before = builder.block
        loop, after = builder.append_basic_block("k"), builder.append_basic_block("store")
        builder.branch(loop)
        builder.position_at_end(loop)
        k, a_now, b_now = (builder.phi(word) for _ in range(3))
        sums = [builder.phi(pack) for _ in places]
        right = [builder.load(pointer(b_now, v), align=size) for v in vectors]
        new = []
        for i in range(rows):
            x = broadcast(builder.add(a_now, left[i]))
            new += [fused(x, right[v], sums[i * len(vectors) + v]) for v in vectors]
        steps = ((k, constant(0), constant(1)), (a_now, a, a_k), (b_now, b, b_k))
        moved = [builder.add(phi, step) for phi, _, step in steps]
        for phi, start, value in [
            *((phi, start, value) for (phi, start, _), value in zip(steps, moved, strict=True)),
            *zip(sums, starts, new, strict=True),
        ]:
            phi.add_incoming(start, before)
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed(">=", moved[0], depth), after, loop)
        builder.position_at_end(after)
        for place, value in zip(places, new, strict=True):
            builder.store(value, place, align=size)
        return context.get_dummy_value()

    return multiply
