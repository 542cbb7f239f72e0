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
        case ELU: return a < 0 ? REAL(1) + a : REAL(1);
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

// A sum (or maximum) over the threads of a block, known to all of them. `part` is shared memory
// of one entry per thread; blockDim.x is a power of two.
__device__ REAL block_sum(REAL x, REAL* part) {
    part[threadIdx.x] = x;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    REAL sum = part[0];
    __syncthreads();
    return sum;
}

__device__ REAL block_max(REAL x, REAL* part) {
    part[threadIdx.x] = x;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            REAL other = part[threadIdx.x + half];
            // true if other is NaN as well
            if (!(other <= part[threadIdx.x])) part[threadIdx.x] = other;
        }
        __syncthreads();
    }
    REAL largest = part[0];
    __syncthreads();
    return largest;
}

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

// The same two with dropout, four entries to a thread. Multiplied, not selected: a NaN stays.
#define DROPOUT_ARGUMENTS                                                                    \
    const REAL *table, int width, const int *step, int layer, unsigned dropped, REAL scale,  \
        REAL kept

// Z := g(Z + b) * D, in place; b may be null
__global__ void bias_activate_dropout(int activation, const REAL* b, REAL* Z, long long size,
                                      int n, DROPOUT_ARGUMENTS) {
    const REAL* row = table + *step * (long long)width;
    for (long long group = INDEX; 4 * group < size; group += STRIDE) {
        REAL D[4];
        dropout_factors(row, layer, group, dropped, scale, D);
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
                                    DROPOUT_ARGUMENTS) {
    const REAL* row = table + (*step - 1) * (long long)width;
    for (long long group = INDEX; 4 * group < size; group += STRIDE) {
        REAL D[4];
        dropout_factors(row, layer, group, dropped, scale, D);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            long long i = 4 * group + k;
            if (i < size) dA[i] *= D[k] * slope(activation, kept * A[i]);
        }
    }
}

// dZ = s (predict(Z + b) - Y) and each example's share of the cost; one block per example.
// s is null where every example has the same share. With `losses` null, only the prediction is
// wanted: it goes into dZ. A reported log-loss lies in [low, high], a reported squared error is
// scaled (losses.py, as_reported); dZ is not affected.
__global__ void output(int loss, const REAL* Z, const REAL* b, const REAL* Y, const REAL* s,
                       REAL share, REAL low, REAL high, REAL scale, REAL* dZ, REAL* losses,
                       int* step, int n) {
    __shared__ REAL part[256];
    const long long row = blockIdx.x, first = row * n;
    if (s) share = s[row];
    REAL largest = 0, normaliser = 1;
    if (loss == CATEGORICAL) {
        // starts from a logit of this row, so that a row of -inf or NaN stays what it is
        REAL mine = Z[first] + b[0];
        for (int j = threadIdx.x; j < n; j += blockDim.x) {
            REAL z = Z[first + j] + b[j];
            if (!(z <= mine)) mine = z;
        }
        largest = block_max(mine, part);
        REAL sum = 0;
        for (int j = threadIdx.x; j < n; j += blockDim.x) sum += exp(Z[first + j] + b[j] - largest);
        normaliser = block_sum(sum, part);
    }
    REAL cost = 0;
    for (int j = threadIdx.x; j < n; j += blockDim.x) {
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
    cost = block_sum(cost, part);
    if (threadIdx.x == 0) {
        if (loss == CATEGORICAL) cost = clipped(cost + log(normaliser), low, high);
        losses[row] = share * cost;
        if (row == 0 && step) *step += 1;
    }
}

// db (n,): sums of the columns of dZ (m, n). Blocks are 32 columns wide and blockDim.y rows deep.
// With `costs`, one more block adds up the losses, and the others each a piece of the penalty
// l2/2 sum(W^2) + l1 sum|W|: costs (steps, columns), whose rows are added up after the run.
__global__ void column_sums(const REAL* dZ, REAL* db, int m, int n, const REAL* losses,
                            const REAL* W, long long n_weights, const REAL* table, int width,
                            const int* step, REAL* costs, int columns) {
    __shared__ REAL part[16][33];
    const int tiles = (n + 31) / 32, tile = blockIdx.x;
    REAL sum = 0;
    if (tile < tiles) {
        int column = tile * 32 + threadIdx.x;
        if (column < n)
            for (int row = threadIdx.y; row < m; row += blockDim.y)
                sum += dZ[row * (long long)n + column];
        part[threadIdx.y][threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.y == 0 && column < n) {
            sum = 0;
            for (int y = 0; y < blockDim.y; y++) sum += part[y][threadIdx.x];
            db[column] = sum;
        }
        return;
    }
    const int piece = tile - tiles, thread = threadIdx.y * 32 + threadIdx.x;
    const int threads = 32 * blockDim.y;
    if (piece == 0) {
        for (int i = thread; i < m; i += threads) sum += losses[i];
    } else {
        long long stride = (columns - 1) * (long long)threads;
        const REAL* scalars = table + (*step - 1) * (long long)width;
        const REAL half_l2 = REAL(0.5) * scalars[L2], l1 = scalars[L1];
        for (long long i = (piece - 1) * (long long)threads + thread; i < n_weights; i += stride)
            sum += half_l2 * W[i] * W[i] + l1 * (W[i] < 0 ? -W[i] : W[i]);
    }
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (thread == 0) {
        sum = 0;
        for (int y = 0; y < blockDim.y; y++)
            for (int x = 0; x < 32; x++) sum += part[y][x];
        costs[(*step - 1) * (long long)columns + piece] = sum;
    }
}

// What follows runs over the flat vectors, the penalties' gradient included: see optimizers.py.
#define FLAT_ARGUMENTS                                                                       \
    const REAL *gradient, REAL *theta, const REAL *table, int width, const int *step,        \
        long long size, long long n_weights
#define SCALARS const REAL* scalars = table + (*step - 1) * (long long)width
#define PENALIZED(i)                                                                         \
    (gradient[i] + (i < n_weights ? scalars[L2] * theta[i] + scalars[L1] * sign(theta[i])    \
                                  : REAL(0)))

// Clipping (Pascanu et al. 2013): scale := min(1, clip_norm / ||gradient||), one number. Blocks
// leave sums of squares in `parts`; the last to finish adds these up, always in the same order.
__global__ void clip(FLAT_ARGUMENTS, REAL* parts, unsigned* finished, REAL* scale) {
    __shared__ REAL part[256];
    __shared__ bool last;
    SCALARS;
    REAL sum = 0;
    for (long long i = INDEX; i < size; i += STRIDE) {
        REAL g = PENALIZED(i);
        sum += g * g;
    }
    sum = block_sum(sum, part);
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
    REAL norm = sqrt(block_sum(sum, part));
    if (threadIdx.x == 0) {
        // an infinite norm makes NaN of all, as in leaves.py
        *scale = norm <= scalars[CLIP_NORM] ? REAL(1) : scalars[CLIP_NORM] / norm + (norm - norm);
        *finished = 0;
    }
}

// The optimisers. Their gradient is scaled by *scale; null where it is not clipped.
#define UPDATE_ARGUMENTS FLAT_ARGUMENTS, const REAL* scale
#define FOR_EACH_PARAMETER                                                                   \
    SCALARS;                                                                                 \
    const REAL clipping = scale ? *scale : REAL(1);                                          \
    for (long long i = INDEX; i < size; i += STRIDE)
#define GRADIENT(i) (clipping * PENALIZED(i))

__global__ void gradient_descent(UPDATE_ARGUMENTS) {
    FOR_EACH_PARAMETER theta[i] -= scalars[OWN] * GRADIENT(i);
}

__global__ void momentum(UPDATE_ARGUMENTS, REAL* velocity, REAL mu, int nesterov) {
    FOR_EACH_PARAMETER {
        REAL move = scalars[OWN] * GRADIENT(i);
        REAL v = velocity[i] = mu * velocity[i] - move;
        theta[i] += nesterov ? mu * v - move : v;
    }
}

__global__ void rmsprop(UPDATE_ARGUMENTS, REAL* square, REAL rho) {
    FOR_EACH_PARAMETER {
        REAL g = GRADIENT(i);
        REAL s = square[i] = rho * square[i] + g * g;
        theta[i] -= scalars[OWN] * g / (sqrt(s) + scalars[OWN + 1]);
    }
}

__global__ void adam(UPDATE_ARGUMENTS, REAL* first, REAL* second, REAL beta1, REAL beta2,
                     int decays) {
    FOR_EACH_PARAMETER {
        REAL g = GRADIENT(i);
        REAL m = first[i] = beta1 * first[i] + g;
        REAL v = second[i] = beta2 * second[i] + g * g;
        REAL kept = decays && i < n_weights ? scalars[OWN + 2] * theta[i] : theta[i];
        theta[i] = kept - scalars[OWN] * m / (sqrt(v) + scalars[OWN + 1]);
    }
}

}  // extern "C"
