// The kernels of a training step. The engine puts `typedef float REAL;` or double before this
// text. Examples are rows here: A is (m, n) in row-major memory. Everything that changes from
// step to step is read from device memory, so that a launch never needs new arguments:
//
//   step   one int: the step of this run. `output` moves it on; what runs after it in a step
//          (column_sums and the update) therefore reads the row before.
//   table  (steps, width): the penalty's coefficient, the optimiser's scalars, and 1 over the
//          batch's sum of sample weights.
//   order  numbers of the examples, one epoch after the other.
//
// REAL(1) instead of 1.0: a double literal would make the arithmetic double, at 1/64 of the
// speed. NaN must go through every branch, since that is how divergence is noticed.

enum { IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SOFTPLUS };
enum { SQUARED, BERNOULLI, CATEGORICAL, POISSON };

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

// NaN stays NaN
__device__ REAL clipped(REAL x, REAL low, REAL high) { return x < low ? low : x > high ? high : x; }

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
// order. A full minibatch has `batch` rows; m is smaller in an epoch's short last one.
__global__ void gather(const REAL* X, const REAL* Y, const REAL* w, const int* order,
                       const int* step, const REAL* table, int width, int n_examples, int batch,
                       int m, int n_x, int n_y, REAL* x, REAL* y, REAL* s) {
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
            y[j] = Y[rows[j / narrow] * narrow + j % narrow];
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
// l2/2 sum(W^2): costs (steps, columns), whose rows are added up after the run.
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
        for (long long i = (piece - 1) * (long long)threads + thread; i < n_weights; i += stride)
            sum += W[i] * W[i];
        sum *= REAL(0.5) * table[(*step - 1) * (long long)width];
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

// The optimisers over the flat vectors, the penalty's gradient included: see optimizers.py.
#define UPDATE_ARGUMENTS                                                                     \
    const REAL *gradient, REAL *theta, const REAL *table, int width, const int *step,         \
        long long size, long long n_weights
#define FOR_EACH_PARAMETER                                                                   \
    const REAL* scalars = table + (*step - 1) * (long long)width;                              \
    for (long long i = INDEX; i < size; i += STRIDE)
#define PENALIZED(i) (gradient[i] + (i < n_weights ? scalars[0] * theta[i] : REAL(0)))

__global__ void gradient_descent(UPDATE_ARGUMENTS) {
    FOR_EACH_PARAMETER theta[i] -= scalars[1] * PENALIZED(i);
}

__global__ void momentum(UPDATE_ARGUMENTS, REAL* velocity, REAL mu, int nesterov) {
    FOR_EACH_PARAMETER {
        REAL move = scalars[1] * PENALIZED(i);
        REAL v = velocity[i] = mu * velocity[i] - move;
        theta[i] += nesterov ? mu * v - move : v;
    }
}

__global__ void rmsprop(UPDATE_ARGUMENTS, REAL* square, REAL rho) {
    FOR_EACH_PARAMETER {
        REAL g = PENALIZED(i);
        REAL s = square[i] = rho * square[i] + g * g;
        theta[i] -= scalars[1] * g / (sqrt(s) + scalars[2]);
    }
}

__global__ void adam(UPDATE_ARGUMENTS, REAL* first, REAL* second, REAL beta1, REAL beta2,
                     int decays) {
    FOR_EACH_PARAMETER {
        REAL g = PENALIZED(i);
        REAL m = first[i] = beta1 * first[i] + g;
        REAL v = second[i] = beta2 * second[i] + g * g;
        REAL kept = decays && i < n_weights ? scalars[3] * theta[i] : theta[i];
        theta[i] = kept - scalars[1] * m / (sqrt(v) + scalars[2]);
    }
}

}  // extern "C"
