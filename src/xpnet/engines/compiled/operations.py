"""What a step does to the matrices of a workspace, besides products: loops that LLVM vectorises.

Their arguments are offsets into the workspace ``w``: see ``workspace.py``. Loops over a matrix run
over its pads, too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from xpnet.core.masks import FIELDS, PARITY, ROTATIONS
from xpnet.engines.compiled import recorder as codes
from xpnet.engines.compiled.vectormath import exp, expm1, log, log1p, tanh

# Sums may be reordered and products contracted, as BLAS does; NaN and infinity stay what they are.
compiled = njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


@compiled
def get(w, i):  # type: ignore[no-untyped-def]
    """``w[i]`` for an i that is not negative: of a signed one Numba asks that each time."""
    return w[np.uint64(i)]


@compiled
def put(w, i, x):  # type: ignore[no-untyped-def]
    w[np.uint64(i)] = x


@compiled
def share_out(w, s, weights, rows, first, m, whole, share):  # type: ignore[no-untyped-def]
    """The share of each example in the cost: see ``leaves.Leaves.gather``."""
    one = w.dtype.type(1)
    if weights.size == 0:
        w[s : s + m] = one / w.dtype.type(m)
    elif whole:
        total = w.dtype.type(0)
        for e in range(m):
            total += weights[e]
        total = max(total, np.finfo(w.dtype).tiny)
        for e in range(m):
            w[s + e] = weights[e] * (one / total)
    else:
        for e in range(m):
            w[s + e] = weights[rows[first + e]] * share


@compiled
def read(w, X, rows, first, m, whole, a, ld):  # type: ignore[no-untyped-def]
    """Copies the inputs of a minibatch, and ones beside them."""
    n = X.shape[1]
    for e in range(m):
        row = e if whole else rows[first + e]
        x = w[a + e * ld : a + e * ld + n]
        for j in range(n):
            x[j] = X[row, j]
        w[a + e * ld + n] = 1


@compiled
def read_targets(w, Y, labels, rows, first, m, whole, y, n):  # type: ignore[no-untyped-def]
    """Copies the targets of a minibatch, (n, m); class numbers become rows of 0 and 1."""
    if labels.size:
        w[y : y + n * m] = 0
    for e in range(m):
        row = e if whole else rows[first + e]
        if labels.size:
            w[y + labels[row] * m + e] = 1
        else:
            for j in range(n):
                put(w, y + j * m + e, Y[row, j])


@compiled
def ones_beside(w, a, m, ld, n):  # type: ignore[no-untyped-def]
    for e in range(m):
        w[a + e * ld + n] = 1


@compiled
def activate(kind, w, a, m, ld):  # type: ignore[no-untyped-def]
    z = w[a : a + m * ld]
    zero, one = w.dtype.type(0), w.dtype.type(1)
    if kind == codes.RELU:
        for i in range(z.size):
            z[i] = zero if z[i] < zero else z[i]  # NaN is not below zero: it goes through
    elif kind == codes.TANH:
        for i in range(z.size):
            z[i] = tanh(z[i])
    elif kind == codes.SIGMOID:
        for i in range(z.size):
            e = exp(-abs(z[i]))
            z[i] = (e if z[i] < zero else one) / (one + e)
    elif kind == codes.LEAKY_RELU:
        least = w.dtype.type(0.01)
        for i in range(z.size):
            z[i] = least * z[i] if z[i] < zero else z[i]
    elif kind == codes.ELU:
        for i in range(z.size):
            below = expm1(zero if z[i] > zero else z[i])
            z[i] = z[i] if z[i] > zero else below
    elif kind == codes.SOFTPLUS:
        for i in range(z.size):
            above = zero if z[i] < zero else z[i]
            z[i] = above + log1p(exp(-abs(z[i])))


@compiled
def slope(kind, w, a, d, size):  # type: ignore[no-untyped-def]
    """dZ := dA g'(A), in place."""
    A, dA = w[a : a + size], w[d : d + size]
    zero, one = w.dtype.type(0), w.dtype.type(1)
    if kind == codes.RELU:
        for i in range(size):
            dA[i] *= one if A[i] > zero else zero  # a product, not a branch: it is vectorised
    elif kind == codes.TANH:
        for i in range(size):
            dA[i] *= one - A[i] * A[i]
    elif kind == codes.SIGMOID:
        for i in range(size):
            dA[i] *= A[i] * (one - A[i])
    elif kind == codes.LEAKY_RELU:
        least = w.dtype.type(0.01)
        for i in range(size):
            dA[i] *= one if A[i] > zero else least
    elif kind == codes.ELU:
        for i in range(size):
            dA[i] *= one if A[i] > zero else one + A[i]
    elif kind == codes.SOFTPLUS:
        for i in range(size):
            dA[i] *= -expm1(-A[i])


# Numba makes uint64 of a sum of two uint32: every result is cast back, which costs nothing.
u32, u64 = np.uint32, np.uint64


@compiled
def draw(layer, halves, count, bits):  # type: ignore[no-untyped-def]
    """Random words of hidden layer ``layer``, by ``masks.threefry2x32``; a counter's two in one.

    ``halves``: those of the key's words. Field f of a counter's four is bits 16 f to 16 f + 15.
    """
    k0 = u32(u32(halves[0]) | (u32(halves[1]) << u32(16)))
    k1 = u32(u32(halves[2]) | (u32(halves[3]) << u32(16)))
    schedule = k0, k1, u32(u32(k0 ^ k1) ^ u32(PARITY))
    for q in range(count):
        x0, x1 = u32(u32(layer) + k0), u32(u32(q) + k1)
        for group in range(5):
            for r in ROTATIONS[group % 2]:
                x0 = u32(x0 + x1)
                x1 = u32(u32((x1 << u32(r)) | (x1 >> u32(32 - r))) ^ x0)
            x0 = u32(x0 + schedule[(group + 1) % 3])
            x1 = u32(x1 + u32(schedule[(group + 2) % 3] + u32(group + 1)))
        bits[q] = u64(x0) | (u64(x1) << u64(32))


@compiled
def drop(w, g, mask, a, m, ld, n, least, bits):  # type: ignore[no-untyped-def]
    """A := G D. Unit j of example e has the field e n + j."""
    zero, kept = w.dtype.type(0), w.dtype.type(FIELDS / (FIELDS - least))
    fields = bits.view(np.uint16)
    for e in range(m):
        G, D = w[g + e * ld : g + e * ld + n], w[mask + e * ld : mask + e * ld + n]
        dropped = w[a + e * ld : a + e * ld + n]
        f = fields[e * n : e * n + n]
        for j in range(n):
            D[j] = kept if f[j] >= least else zero
            dropped[j] = G[j] * D[j]


@compiled
def multiply(w, d, mask, size):  # type: ignore[no-untyped-def]
    D, dA = w[mask : mask + size], w[d : d + size]
    for i in range(size):
        dA[i] *= D[i]


@compiled
def transposed(w, d, ld, m, n, t):  # type: ignore[no-untyped-def]
    for e in range(m):
        for j in range(n):
            put(w, t + j * m + e, get(w, d + e * ld + j))


@compiled
def output(loss, reported, w, d, ld, m, n, s, y, t, bounds):  # type: ignore[no-untyped-def]
    """The cost; the logits at ``d`` (m, ld) become the slopes dZ. ``t``: room for (n + 3) m.

    ``bounds``: the least exponent that matters beside 1, and the range of a reported log-loss.
    """
    zero, one, half = w.dtype.type(0), w.dtype.type(1), w.dtype.type(0.5)
    size = n * m
    transposed(w, d, ld, m, n, t)
    T, Y, S = w[t : t + size].reshape(n, m), w[y : y + size].reshape(n, m), w[s : s + m]
    losses = w[t + size : t + size + m]
    losses[:] = zero
    least, low, high = bounds[0], bounds[1], bounds[2]
    if loss == codes.CATEGORICAL:
        top, total = w[t + size + m : t + size + 2 * m], w[t + size + 2 * m : t + size + 3 * m]
        top[:] = T[0]
        for j in range(1, n):
            for e in range(m):
                top[e] = top[e] if T[j, e] <= top[e] else T[j, e]
        total[:] = zero
        for j in range(n):
            for e in range(m):
                z = T[j, e] - top[e]
                losses[e] -= Y[j, e] * z
                # subnormal numbers are slow, and nothing beside a sum that is at least 1
                z = exp(least if z < least else z)
                T[j, e] = z
                total[e] += z
        for e in range(m):
            losses[e] += log(total[e])
            total[e] = S[e] / total[e]
        for j in range(n):
            for e in range(m):
                T[j, e] = T[j, e] * total[e] - Y[j, e] * S[e]
        if reported:
            clip(losses, low, high)
    elif loss == codes.BERNOULLI:
        for j in range(n):
            for e in range(m):
                z = T[j, e]
                small = exp(-abs(z))
                value = (zero if z < zero else z) - z * Y[j, e] + log1p(small)
                if reported:
                    value = low if value < low else value
                    value = high if value > high else value
                losses[e] += value
                p = (small if z < zero else one) / (one + small)
                T[j, e] = (p - Y[j, e]) * S[e]
    elif loss == codes.POISSON:
        for j in range(n):
            for e in range(m):
                z, target = T[j, e], Y[j, e]
                mean = exp(z)
                positive = max(target, bounds[3])
                losses[e] += mean - target * z + target * (log(positive) - one)
                T[j, e] = (mean - target) * S[e]
    else:
        for j in range(n):
            for e in range(m):
                z = T[j, e] - Y[j, e]
                T[j, e] = z * S[e]
                losses[e] += z * T[j, e]  # overflows where the recorded step's does
    cost, mean = zero, loss != codes.SQUARED
    for e in range(m):
        cost += losses[e] * S[e] if mean else losses[e]
    if not mean:
        cost *= half / w.dtype.type(n) if reported else half
    for e in range(m):
        for j in range(n):
            put(w, d + e * ld + j, get(w, t + j * m + e))
    return cost


@compiled
def clip(x, low, high):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        x[i] = low if x[i] < low else x[i]
        x[i] = high if x[i] > high else x[i]


@compiled
def sum_of_squares(w, a, size):  # type: ignore[no-untyped-def]
    x, total = w[a : a + size], w.dtype.type(0)
    for i in range(size):
        total += x[i] * x[i]
    return total


@compiled
def sum_of_sizes(w, a, size):  # type: ignore[no-untyped-def]
    x, total = w[a : a + size], w.dtype.type(0)
    for i in range(size):
        total += abs(x[i])
    return total


@compiled
def penalize(w, v, g, size, l2, l1):  # type: ignore[no-untyped-def]
    theta, gradient = w[v : v + size], w[g : g + size]
    if l2 != 0:
        for i in range(size):
            gradient[i] += l2 * theta[i]
    if l1 != 0:
        for i in range(size):
            gradient[i] += l1 * np.sign(theta[i])


@compiled
def scale(w, v, size, factor):  # type: ignore[no-untyped-def]
    theta = w[v : v + size]
    for i in range(size):
        theta[i] *= factor


@compiled
def move(rule, theta, gradient, mean, square, rate, epsilon, settings):  # type: ignore[no-untyped-def]
    """The rule of an optimiser, as ``core/optimizers.py`` has it."""
    size = theta.size
    if rule == codes.ADAM:
        beta1, beta2 = settings[0], settings[1]
        for i in range(size):
            m = beta1 * mean[i] + gradient[i]
            s = beta2 * square[i] + gradient[i] * gradient[i]
            mean[i] = m
            square[i] = s
            theta[i] -= rate * m / (np.sqrt(s) + epsilon)
    elif rule == codes.RMSPROP:
        for i in range(size):
            s = settings[0] * mean[i] + gradient[i] * gradient[i]
            mean[i] = s
            theta[i] -= rate * gradient[i] / (np.sqrt(s) + epsilon)
    elif rule == codes.DESCENT:
        for i in range(size):
            theta[i] -= rate * gradient[i]
    else:
        mu = settings[0]
        for i in range(size):
            step = rate * gradient[i]
            velocity = mu * mean[i] - step
            mean[i] = velocity
            theta[i] += mu * velocity - step if rule == codes.NESTEROV else velocity
