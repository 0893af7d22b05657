// One AdamW step: adamw.go says what is computed, and where it rounds. The moments are
// multiplied and added with one rounding, as torch's lerp and addcmul are; roots and
// quotients are correctly rounded: the bits are the host twin's.
//
// Floor: 28 bytes an element moved (p, m, v read and written, g read), 30 with the bf16
// copy, at the memory's bandwidth. Not measured on a GPU.
// v1  16-byte accesses
// v2  many parameters in a launch: an adapter's matrices are too small to fill a device, and
//     a model has hundreds
#include "../dev/math.cuh"
#include "../dev/half.cuh"
#include "../dev/list.cuh"

// The scalars of a step, rounded once by the host: factors in adamw_cpu.go.
struct factors { float grad_scale, decay, one_minus_beta1, beta2, one_minus_beta2, sqrt_bc2, eps, minus_step; };

struct parameter {
  float* p;
  u16* half;  // null: p has no copy in bf16
  const float* g;
  float *m, *v;
  i64 n;
};

constexpr int most = 64;  // parameters of a launch

struct parameters {
  parameter items[most];
  int first[most];  // blocks, each of 1024 elements
  factors f;
};

KERNEL __launch_bounds__(256) adamw_step(parameters l) {
  const int own = vector_of(l.first, blockIdx.x);
  const parameter x = l.items[own];
  const factors f = l.f;
  const i64 i = ((i64)(blockIdx.x - l.first[own]) * 256 + threadIdx.x) * 4;
  const bool vec = aligned16(x.p, x.g, x.m, x.v);
  quad qp = load4(x.p, i, x.n, vec), qg = load4(x.g, i, x.n, vec), qm = load4(x.m, i, x.n, vec), qv = load4(x.v, i, x.n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const float g = qg.v[k] * f.grad_scale;
    qm.v[k] = fma(f.one_minus_beta1, g - qm.v[k], qm.v[k]);
    qv.v[k] = fma(f.one_minus_beta2 * g, g, qv.v[k] * f.beta2);
    const float denominator = sqrt(qv.v[k]) / f.sqrt_bc2 + f.eps;
    qp.v[k] = qp.v[k] * f.decay + f.minus_step * qm.v[k] / denominator;
  }
  store4(x.p, i, x.n, vec, qp);
  store4(x.m, i, x.n, vec, qm);
  store4(x.v, i, x.n, vec, qv);
  if (x.half) store4_bf16(x.half, i, x.n, aligned8(x.half), qp);
}
