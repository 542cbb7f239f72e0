// The kernels of a training step. The engine puts `typedef float REAL;` or double before this
// text. Examples are rows here: A is (m, n) in row-major memory. Everything that changes from
// step to step is read from device memory, so that a launch never needs new arguments:
//
//   step   one int: the step of this run. `output` moves it on; what runs after it in a step
//          (column_sums, times_slope and the update) therefore reads the row before.
//   table  (steps, width): a prefix (see network.py, step_table), the optimiser's scalars, and
//          1 over the batch's sum of sample weights.
//   order  numbers of the examples, one epoch after the other.
//
// REAL(1) instead of 1.0: a double literal would make the arithmetic double, at 1/64 of the
// speed. NaN must go through every branch, since that is how divergence is noticed.

enum { IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTPLUS };
enum { SQUARED, BERNOULLI, CATEGORICAL, POISSON };
// Columns of the table. A key is two halves of 16 bits: exact also where REAL is float.
enum { L2, L1, CLIP_NORM, KEY0, KEY1 = KEY0 + 2, OWN = KEY1 + 2 };

#define INDEX (blockIdx.x * (long long)blockDim.x + threadIdx.x)
#define STRIDE (gridDim.x * (long long)blockDim.x)

// Four neighbours, which a thread reads or writes at once: vectors begin at a multiple of 16 bytes
// and have room for a last four. FOUR(x, i) are those from x[i], where 4 divides i.
struct alignas(16) Four {
    REAL at[4];
};
#define FOUR(x, i) (*(Four*)((x) + (i)))

__device__ REAL sigmoid(REAL z) {
    REAL e = exp(z < 0 ? z : -z);  // never overflows
    return (z < 0 ? e : REAL(1)) / (REAL(1) + e);
}

__device__ REAL softplus(REAL z) {
    return (z < 0 ? REAL(0) : z) + log1p(exp(z < 0 ? z : -z));
}

__device__ REAL value(int activation, REAL z) {
    switch (activation) {
        case SIGMOID: return sigmoid(z);
        case TANH: return tanh(z);
        case RELU: return z < 0 ? REAL(0) : z;
        case LEAKY_RELU: return z < 0 ? REAL(0.01) * z : z;
        case ELU: return z < 0 ? expm1(z) : z;
        case SOFTPLUS: return softplus(z);
        default: return z;
    }
}

__device__ REAL slope(int activation, REAL a) {
    switch (activation) {
        case SIGMOID: return a * (REAL(1) - a);
        case TANH: return REAL(1) - a * a;
        case RELU: return a > 0 ? REAL(1) : REAL(0);
        case LEAKY_RELU: return a > 0 ? REAL(1) : REAL(0.01);
        case ELU: return a >= 0 ? REAL(1) : REAL(1) + a;
        case SOFTPLUS: return -expm1(-a);
        default: return REAL(1);
    }
}

__device__ REAL sign(REAL x) { return REAL((x > 0) - (x < 0)); }

// NaN stays NaN
__device__ REAL clipped(REAL x, REAL low, REAL high) { return x < low ? low : x > high ? high : x; }

__device__ unsigned key(const REAL* halves) {
    return (unsigned)halves[0] | (unsigned)halves[1] << 16;
}

__device__ unsigned rotated(unsigned x, int places) { return x << places | x >> (32 - places); }

// What dropout multiplies four entries 4 group ... 4 group + 3 of a hidden layer by: 0, or `scale`
// where the entry's 16 random bits are at least `dropped`. The bits are Threefry-2x32 with 20
// rounds (Salmon et al. 2011), so that the backward pass finds them again from the counter.
__device__ void dropout_factors(const REAL* row, unsigned layer, long long group,
                                unsigned dropped, REAL scale, REAL* factors) {
    const int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    unsigned keys[3] = {key(row + KEY0), key(row + KEY1), 0};
    keys[2] = 0x1BD11BDAu ^ keys[0] ^ keys[1];
    unsigned x0 = layer + keys[0], x1 = (unsigned)group + keys[1];
#pragma unroll
    for (int round = 0; round < 20; round++) {
        x0 += x1;
        x1 = rotated(x1, rotations[round % 8]) ^ x0;
        if (round % 4 == 3) {
            x0 += keys[(round / 4 + 1) % 3];
            x1 += keys[(round / 4 + 2) % 3] + (round / 4 + 1);
        }
    }
    factors[0] = (x0 & 0xFFFF) >= dropped ? scale : REAL(0);
    factors[1] = (x0 >> 16) >= dropped ? scale : REAL(0);
    factors[2] = (x1 & 0xFFFF) >= dropped ? scale : REAL(0);
    factors[3] = (x1 >> 16) >= dropped ? scale : REAL(0);
}

// Sums (or maxima) over the threads of a block, in `groups` of them: threads whose SLOT is the same
// modulo `groups` belong together, and each knows the result of its own. `part` is shared memory
// of one entry per thread; the number of threads and `groups` are powers of two.
#define SLOT (threadIdx.x * blockDim.y + threadIdx.y)

__device__ REAL block_sum(REAL x, REAL* part, int groups) {
    const int slot = SLOT;
    part[slot] = x;
    __syncthreads();
    for (int half = blockDim.x * blockDim.y / 2; half >= groups; half /= 2) {
        if (slot < half) part[slot] += part[slot + half];
        __syncthreads();
    }
    REAL sum = part[slot & (groups - 1)];
    __syncthreads();
    return sum;
}

__device__ REAL block_max(REAL x, REAL* part, int groups) {
    const int slot = SLOT;
    part[slot] = x;
    __syncthreads();
    for (int half = blockDim.x * blockDim.y / 2; half >= groups; half /= 2) {
        if (slot < half) {
            REAL other = part[slot + half];
            if (!(other <= part[slot])) part[slot] = other;  // true if other is NaN as well
        }
        __syncthreads();
    }
    REAL largest = part[slot & (groups - 1)];
    __syncthreads();
    return largest;
}

// x[row stride] + x[(row + step) stride] + ... below `end`, four of them on their way at a time
template <typename Pointer>
__device__ REAL sum_of_rows(Pointer x, long long stride, long long row, long long end, int step) {
    REAL sums[4] = {0, 0, 0, 0};
    for (; row + 3 * step < end; row += 4 * step) {
        REAL read[4];
#pragma unroll
        for (int k = 0; k < 4; k++) read[k] = x[(row + k * step) * stride];
#pragma unroll
        for (int k = 0; k < 4; k++) sums[k] += read[k];
    }
    for (; row < end; row += step) sums[0] += x[row * stride];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// At most 32 columns of a matrix (m, n) whose sums are wanted: where the first of them begins, how
// many, and where the sums go: null for the losses, whose sum is the cost of this step.
struct Tile {
    const REAL* first;
    long long n, columns;
    REAL* sums;
};

extern "C" {

// x (m, n_x), y (m, n_y) and, with weights, the shares s (m,): rows of the data, in this step's
// order. A full minibatch has `batch` rows; m is smaller in an epoch's short last one. Y is null
// where there are labels (m,): y is then 1 in the column of the label and 0 elsewhere.
__global__ void gather(const REAL* X, const REAL* Y, const int* labels, const REAL* w,
                       const int* order, const int* step, const REAL* table, int width,
                       int n_examples, int batch, int m, int n_x, int n_y, REAL* x, REAL* y,
                       REAL* s) {
    int per_epoch = (n_examples + batch - 1) / batch;
    int k = *step;
    const int* rows = order + (k / per_epoch) * (long long)n_examples
                            + (k % per_epoch) * (long long)batch;
    long long wide = n_x, narrow = n_y, end = m * (wide + narrow + (w ? 1 : 0));
    for (long long i = INDEX; i < end; i += STRIDE) {
        if (i < m * wide) {
            x[i] = X[rows[i / wide] * wide + i % wide];
        } else if (i < m * (wide + narrow)) {
            long long j = i - m * wide;
            long long row = rows[j / narrow], column = j % narrow;
            y[j] = labels ? REAL(labels[row] == column) : Y[row * narrow + column];
        } else {
            long long j = i - m * (wide + narrow);
            s[j] = w[rows[j]] * table[k * (long long)width + width - 1];
        }
    }
}

// Z := g(Z + b), in place; Z (m, n), b (n,)
__global__ void bias_activate(int activation, const REAL* b, REAL* Z, long long size, int n) {
    for (long long i = INDEX; i < size; i += STRIDE) Z[i] = value(activation, Z[i] + b[i % n]);
}

// dA := dA * g'(A), in place
__global__ void times_slope(int activation, const REAL* A, REAL* dA, long long size) {
    for (long long i = INDEX; i < size; i += STRIDE) dA[i] *= slope(activation, A[i]);
}

// The factors of entries 4 group ... 4 group + 3 of a layer of n units: where `ranks` processes
// share a minibatch, its example e is number rank + e ranks of the whole.
__device__ void shared_factors(const REAL* row, unsigned layer, long long group, int n, int rank,
                               int ranks, unsigned dropped, REAL scale, REAL* factors) {
    if (ranks == 1) return dropout_factors(row, layer, group, dropped, scale, factors);
    for (int k = 0; k < 4; k++) {
        long long i = 4 * group + k, entry = (rank + i / n * ranks) * n + i % n;
        REAL four[4];
        dropout_factors(row, layer, entry / 4, dropped, scale, four);
        factors[k] = four[entry % 4];
    }
}

// The same two with dropout, four entries to a thread. Multiplied, not selected: a NaN stays.
#define DROPOUT_ARGUMENTS                                                                    \
    const REAL *table, int width, const int *step, int layer, int rank, int ranks,           \
        unsigned dropped, REAL scale, REAL kept

// Z := g(Z + b) * D, in place; b may be null
__global__ void bias_activate_dropout(int activation, const REAL* b, REAL* Z, long long size,
                                      int n, DROPOUT_ARGUMENTS) {
    const REAL* row = table + *step * (long long)width;
    for (long long group = INDEX; 4 * group < size; group += STRIDE) {
        REAL D[4];
        shared_factors(row, layer, group, n, rank, ranks, dropped, scale, D);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            long long i = 4 * group + k;
            if (i < size) Z[i] = value(activation, b ? Z[i] + b[i % n] : Z[i]) * D[k];
        }
    }
}

// dA := dA * D * g'(A), in place, where A comes multiplied by D. Where D is 0 no A is needed,
// elsewhere it is `kept` times that: kept = 1 / scale, which is exact.
__global__ void times_slope_dropout(int activation, const REAL* A, REAL* dA, long long size,
                                    int n, DROPOUT_ARGUMENTS) {
    const REAL* row = table + (*step - 1) * (long long)width;
    for (long long group = INDEX; 4 * group < size; group += STRIDE) {
        REAL D[4];
        shared_factors(row, layer, group, n, rank, ranks, dropped, scale, D);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            long long i = 4 * group + k;
            if (i < size) dA[i] *= D[k] * slope(activation, kept * A[i]);
        }
    }
}

// dZ = s (predict(Z + b) - Y) and each example's share of the cost. A block has blockDim.x threads
// for each of blockDim.y examples. s is null where every example has the same share. With `losses`
// null, only the prediction is wanted: it goes into dZ. A reported log-loss lies in [low, high], a
// reported squared error is scaled (losses.py, as_reported); dZ is not affected.
__global__ void __launch_bounds__(256)
    output(int loss, const REAL* Z, const REAL* b, const REAL* Y, const REAL* s, REAL share,
           REAL low, REAL high, REAL scale, REAL* dZ, REAL* losses, int* step, int m, int n) {
    __shared__ REAL part[256];
    const long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y;
    const bool is_there = row < m;  // threads without a row wait with the others of their block
    const long long first = is_there ? row * n : 0;
    const int end = is_there ? n : 0;
    if (s && is_there) share = s[row];
    REAL largest = 0, normaliser = 1;
    if (loss == CATEGORICAL) {
        // starts from a logit of this row, so that a row of -inf or NaN stays what it is
        REAL mine = Z[first] + b[0];
        for (int j = threadIdx.x; j < end; j += blockDim.x) {
            REAL z = Z[first + j] + b[j];
            if (!(z <= mine)) mine = z;
        }
        largest = block_max(mine, part, blockDim.y);
        REAL sum = 0;
        for (int j = threadIdx.x; j < end; j += blockDim.x)
            sum += exp(Z[first + j] + b[j] - largest);
        normaliser = block_sum(sum, part, blockDim.y);
    }
    REAL cost = 0;
    for (int j = threadIdx.x; j < end; j += blockDim.x) {
        REAL z = Z[first + j] + b[j], a = z;
        if (loss == BERNOULLI) a = sigmoid(z);
        if (loss == CATEGORICAL) a = exp(z - largest) / normaliser;
        if (loss == POISSON) a = exp(z);
        if (!losses) {
            dZ[first + j] = a;
            continue;
        }
        REAL y = Y[first + j];
        if (loss == SQUARED) cost += scale * REAL(0.5) * (z - y) * (z - y);
        if (loss == BERNOULLI) cost += clipped(softplus(z) - z * y, low, high);
        if (loss == CATEGORICAL) cost -= y * (z - largest);
        if (loss == POISSON) cost += a - y * z + (y > 0 ? y * (log(y) - REAL(1)) : REAL(0));
        dZ[first + j] = share * (a - y);
    }
    if (!losses) return;
    cost = block_sum(cost, part, blockDim.y);
    if (threadIdx.x == 0 && is_there) {
        if (loss == CATEGORICAL) cost = clipped(cost + log(normaliser), low, high);
        losses[row] = share * cost;
        if (row == 0 && step) *step += 1;
    }
}

// Sums of the columns of every tile, in blocks of `rows` rows: the bias gradients of all layers and
// the cost. Where a tile has several blocks (`splits`), these leave their sums in `partial`
// (splits, n_tiles, 32), and the last of them to finish adds those up, always in the same order.
// The blocks after those add up a piece each of the penalty l2/2 sum(W^2) + l1 sum|W|. A row of
// costs (steps, columns) is the cost and these pieces; it is added up after the run.
__global__ void __launch_bounds__(512)
    column_sums(const Tile* tiles, int n_tiles, int splits, int rows, int m, REAL* partial,
                unsigned* finished, const REAL* W, long long n_weights, const REAL* table,
                int width, const int* step, REAL* costs, int columns) {
    __shared__ REAL part[512];
    __shared__ bool last;
    const int thread = threadIdx.x, tile = blockIdx.x / splits, split = blockIdx.x % splits;
    costs += (*step - 1) * (long long)columns;
    if (tile >= n_tiles) {
        const int piece = blockIdx.x - n_tiles * splits;
        const REAL* scalars = table + (*step - 1) * (long long)width;
        const REAL half_l2 = REAL(0.5) * scalars[L2], l1 = scalars[L1];
        REAL sum = 0;
        for (long long i = 4 * (piece * (long long)blockDim.x + thread); i < n_weights;
             i += 4 * (columns - 1) * (long long)blockDim.x) {
            const Four w = FOUR(W, i);
#pragma unroll
            for (int k = 0; k < 4; k++)
                if (i + k < n_weights)
                    sum += half_l2 * w.at[k] * w.at[k] + l1 * (w.at[k] < 0 ? -w.at[k] : w.at[k]);
        }
        sum = block_sum(sum, part, 1);
        if (thread == 0) costs[1 + piece] = sum;
        return;
    }
    const Tile mine = tiles[tile];
    int lanes = 32;  // threads side by side: no more than a narrow tile has use for
    while (lanes >= 2 * mine.columns) lanes /= 2;
    const int column = thread & (lanes - 1), depth = thread / lanes, depths = blockDim.x / lanes;
    const long long begin = split * (long long)rows, end = begin + rows < m ? begin + rows : m;
    const bool is_there = column < mine.columns;
    REAL sum = 0;
    if (is_there) sum = sum_of_rows(mine.first + column, mine.n, begin + depth, end, depths);
    sum = block_sum(sum, part, lanes);
    if (splits > 1) {
        REAL* const others = partial + tile * 32 + column;
        if (thread < lanes) {
            others[split * (32LL * n_tiles)] = sum;
            __threadfence();  // the sum is there before the count says so
        }
        __syncthreads();
        if (thread == 0) last = atomicAdd(finished + tile, 1u) == splits - 1;
        __syncthreads();
        if (!last) return;
        __threadfence();
        sum = sum_of_rows((volatile REAL*)others, 32LL * n_tiles, depth, splits, depths);
        sum = block_sum(sum, part, lanes);
        if (thread == 0) finished[tile] = 0;
    }
    if (thread < lanes && is_there) (mine.sums ? mine.sums : costs)[column] = sum;
}

// What follows runs over the flat vectors, four entries to a thread, the penalties' gradient
// included: see optimizers.py. No two of the vectors overlap.
#define FLAT_ARGUMENTS                                                                       \
    const REAL *__restrict__ gradient, REAL *__restrict__ theta,                             \
        const REAL *__restrict__ table, int width, const int *__restrict__ step,             \
        long long size, long long n_weights
#define SCALARS                                                                              \
    const REAL* scalars = table + (*step - 1) * (long long)width;                            \
    const REAL l2 = scalars[L2], l1 = scalars[L1]
#define FOR_EACH_FOUR for (long long i = 4 * INDEX; i < size; i += 4 * STRIDE)
// What lies behind the last parameter is never written.
#define FOR_EACH_OF_FOUR                                                                     \
    _Pragma("unroll") for (int k = 0; k < 4; k++) if (i + k < size)
#define PENALIZED                                                                            \
    (g.at[k] + (i + k < n_weights ? l2 * t.at[k] + l1 * sign(t.at[k]) : REAL(0)))

// Clipping (Pascanu et al. 2013): scale := min(1, clip_norm / ||gradient||), one number. Blocks
// leave sums of squares in `parts`; the last to finish adds these up, always in the same order.
__global__ void clip(FLAT_ARGUMENTS, REAL* parts, unsigned* finished, REAL* scale) {
    __shared__ REAL part[256];
    __shared__ bool last;
    SCALARS;
    REAL sum = 0;
    FOR_EACH_FOUR {
        const Four g = FOUR(gradient, i), t = FOUR(theta, i);
        FOR_EACH_OF_FOUR {
            REAL d = PENALIZED;
            sum += d * d;
        }
    }
    sum = block_sum(sum, part, 1);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = sum;
        __threadfence();  // the sum is there before the count says so
        last = atomicAdd(finished, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    sum = 0;
    for (int i = threadIdx.x; i < gridDim.x; i += blockDim.x)
        sum += ((volatile REAL*)parts)[i];
    REAL norm = sqrt(block_sum(sum, part, 1));
    if (threadIdx.x == 0) {
        // an infinite norm makes NaN of all, as in leaves.py
        *scale = norm <= scalars[CLIP_NORM] ? REAL(1) : scalars[CLIP_NORM] / norm + (norm - norm);
        *finished = 0;
    }
}

// The optimisers. Their gradient is scaled by *scale; null where it is not clipped.
#define UPDATE_ARGUMENTS FLAT_ARGUMENTS, const REAL* __restrict__ scale
#define UPDATE_SCALARS                                                                       \
    SCALARS;                                                                                 \
    const REAL clipping = scale ? *scale : REAL(1), rate = scalars[OWN]
#define GRADIENT (clipping * PENALIZED)

__global__ void gradient_descent(UPDATE_ARGUMENTS) {
    UPDATE_SCALARS;
    FOR_EACH_FOUR {
        const Four g = FOUR(gradient, i);
        Four t = FOUR(theta, i);
        FOR_EACH_OF_FOUR t.at[k] -= rate * GRADIENT;
        FOUR(theta, i) = t;
    }
}

__global__ void momentum(UPDATE_ARGUMENTS, REAL* __restrict__ velocity, REAL mu, int nesterov) {
    UPDATE_SCALARS;
    FOR_EACH_FOUR {
        const Four g = FOUR(gradient, i);
        Four t = FOUR(theta, i), v = FOUR(velocity, i);
        FOR_EACH_OF_FOUR {
            REAL move = rate * GRADIENT;
            v.at[k] = mu * v.at[k] - move;
            t.at[k] += nesterov ? mu * v.at[k] - move : v.at[k];
        }
        FOUR(velocity, i) = v;
        FOUR(theta, i) = t;
    }
}

__global__ void rmsprop(UPDATE_ARGUMENTS, REAL* __restrict__ square, REAL rho) {
    UPDATE_SCALARS;
    const REAL epsilon = scalars[OWN + 1];
    FOR_EACH_FOUR {
        const Four g = FOUR(gradient, i);
        Four t = FOUR(theta, i), s = FOUR(square, i);
        FOR_EACH_OF_FOUR {
            REAL d = GRADIENT;
            s.at[k] = rho * s.at[k] + d * d;
            t.at[k] -= rate * d / (sqrt(s.at[k]) + epsilon);
        }
        FOUR(square, i) = s;
        FOUR(theta, i) = t;
    }
}

__global__ void adam(UPDATE_ARGUMENTS, REAL* __restrict__ first, REAL* __restrict__ second,
                     REAL beta1, REAL beta2, int decays) {
    UPDATE_SCALARS;
    const REAL epsilon = scalars[OWN + 1], keep = decays ? scalars[OWN + 2] : REAL(1);
    FOR_EACH_FOUR {
        const Four g = FOUR(gradient, i);
        Four t = FOUR(theta, i), m = FOUR(first, i), v = FOUR(second, i);
        FOR_EACH_OF_FOUR {
            REAL d = GRADIENT;
            m.at[k] = beta1 * m.at[k] + d;
            v.at[k] = beta2 * v.at[k] + d * d;
            REAL kept = i + k < n_weights ? keep * t.at[k] : t.at[k];
            t.at[k] = kept - rate * m.at[k] / (sqrt(v.at[k]) + epsilon);
        }
        FOUR(first, i) = m;
        FOUR(second, i) = v;
        FOUR(theta, i) = t;
    }
}

}  // extern "C"
