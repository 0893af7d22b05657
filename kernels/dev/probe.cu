// The functions of math.cuh over a vector, for dev_test.go alone.
#include "math.cuh"

template <class F> DEV void each(const float* x, float* y, int n, F f) {
  int i = blockIdx.x * 256 + threadIdx.x;
  if (i < n) y[i] = f(x[i]);
}
KERNEL __launch_bounds__(256) probe_exp(const float* x, float* y, int n) { each(x, y, n, exp); }
KERNEL __launch_bounds__(256) probe_log(const float* x, float* y, int n) { each(x, y, n, log); }
KERNEL __launch_bounds__(256) probe_tanh(const float* x, float* y, int n) { each(x, y, n, tanh); }
KERNEL __launch_bounds__(256) probe_sigmoid(const float* x, float* y, int n) { each(x, y, n, sigmoid); }
