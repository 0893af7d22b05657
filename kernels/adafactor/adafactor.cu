// One step of Adafactor: adafactor.go says what is computed. A matrix takes six launches:
// the running means of rows and of columns, the mean of the former, the squares of the
// direction by rows, their sum, and the step itself, which makes the direction again
// rather than keep it. Sums are float64 over fixed trees: no atomics, the same bits in
// every run. Roots and quotients are correctly rounded.
//
// adafactor_rows, _squares, _apply: a block of 256 threads owns a row.
// adafactor_columns: a block owns 32 columns, each of its 8 warps every eighth row.
// adafactor_vector: one block; norms and biases are short.
//
// Floor: 24 bytes an element (g read four times, p read and written) at the memory's
// bandwidth. Not measured on a GPU.
// v1  a row's neighbours are read by neighbouring threads, 4 bytes each
#include "../dev/warp.cuh"

// The scalars of a step, rounded once by the host: factors in adafactor.go.
struct factors { float grad_scale, beta2, one_minus_beta2, eps, decay, lr; };

// follow moves a running mean towards a new mean of squares.
DEV float follow(float old, double mean, const factors& f) { return old * f.beta2 + f.one_minus_beta2 * ((float)mean + f.eps); }
DEV float inverse_root(float x) { return 1.f / sqrt(x); }
// step is the learning rate over max(1, the root mean square of n elements).
DEV float step(double squares, double n, const factors& f) {
  const float rms = (float)__builtin_sqrt(squares / n);
  return f.lr / (rms > 1.f || rms != rms ? rms : 1.f);
}
// row_factor is what the elements of the block's row of the direction share.
DEV float row_factor(const float* r, int rows, const double* sum_of_r, const factors& f) {
  return inverse_root(r[blockIdx.x] / (float)(*sum_of_r / (double)rows)) * f.grad_scale;
}

KERNEL __launch_bounds__(256) adafactor_rows(const float* g, float* r, int rows, int cols, factors f) {
  __shared__ double part[8];
  const float* row = g + (i64)blockIdx.x * cols;
  double s = 0;
  for (int j = threadIdx.x; j < cols; j += 256) {
    const double x = row[j] * f.grad_scale;
    s += x * x;
  }
  s = block_sum<256>(s, part);
  if (threadIdx.x == 0) r[blockIdx.x] = follow(r[blockIdx.x], s / (double)cols, f);
}

KERNEL __launch_bounds__(256) adafactor_columns(const float* g, float* c, int rows, int cols, factors f) {
  __shared__ double part[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, j = blockIdx.x * 32 + lane;
  double s = 0;
  if (j < cols)
    for (int i = warp; i < rows; i += 8) {
      const double x = g[(i64)i * cols + j] * f.grad_scale;
      s += x * x;
    }
  part[warp][lane] = s;
  __syncthreads();
  if (warp != 0 || j >= cols) return;
  for (int w = 1; w < 8; w++) s += part[w][lane];
  c[j] = follow(c[j], s / (double)rows, f);
}

template <class T> DEV void add_up(const T* x, int n, double* sum) {
  __shared__ double part[8];
  double s = 0;
  for (int i = threadIdx.x; i < n; i += 256) s += (double)x[i];
  s = block_sum<256>(s, part);
  if (threadIdx.x == 0) *sum = s;
}

KERNEL __launch_bounds__(256) adafactor_sum_floats(const float* x, int n, double* sum) { add_up(x, n, sum); }
KERNEL __launch_bounds__(256) adafactor_sum_doubles(const double* x, int n, double* sum) { add_up(x, n, sum); }

// squares[row] = the sum of the squares of the row's direction.
KERNEL __launch_bounds__(256) adafactor_squares(float*, const float* g, const float* r, const float* c, const double* sum_of_r, double* squares, int rows, int cols,
                                                factors f) {
  __shared__ double part[8];
  const float* row = g + (i64)blockIdx.x * cols;
  const float a = row_factor(r, rows, sum_of_r, f);
  double s = 0;
  for (int j = threadIdx.x; j < cols; j += 256) {
    const double u = a * inverse_root(c[j]) * row[j];
    s += u * u;
  }
  s = block_sum<256>(s, part);
  if (threadIdx.x == 0) squares[blockIdx.x] = s;
}

KERNEL __launch_bounds__(256) adafactor_apply(float* p, const float* g, const float* r, const float* c, const double* sum_of_r, const double* squares, int rows,
                                              int cols, factors f) {
  const i64 first = (i64)blockIdx.x * cols;
  const float a = row_factor(r, rows, sum_of_r, f), rate = step(*squares, (double)rows * (double)cols, f);
  for (int j = threadIdx.x; j < cols; j += 256) p[first + j] = p[first + j] * f.decay - rate * (a * inverse_root(c[j]) * g[first + j]);
}

KERNEL __launch_bounds__(256) adafactor_vector(float* p, const float* g, float* v, int n, factors f) {
  __shared__ double part[8];
  double s = 0;
  for (int i = threadIdx.x; i < n; i += 256) {
    const float x = g[i] * f.grad_scale;
    v[i] = follow(v[i], (double)x * x, f);
    const double u = x * inverse_root(v[i]);
    s += u * u;
  }
  const float rate = step(block_sum<256>(s, part), (double)n, f);
  for (int i = threadIdx.x; i < n; i += 256) p[i] = p[i] * f.decay - rate * (g[i] * f.grad_scale * inverse_root(v[i]));
}
