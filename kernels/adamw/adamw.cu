// One AdamW step: adamw.go says what is computed, and where it rounds. The moments are
// multiplied and added with one rounding, as torch's lerp and addcmul are; roots and
// quotients are correctly rounded: the bits are the host twin's.
//
// Floor: 28 bytes an element moved (p, m, v read and written, g read), 30 with the bf16
// copy, at the memory's bandwidth. Not measured on a GPU.
// v1  16-byte accesses
#include "../dev/math.cuh"
#include "../dev/half.cuh"

// The scalars of a step, rounded once by the host: factors in adamw_cpu.go.
struct factors { float grad_scale, decay, one_minus_beta1, beta2, one_minus_beta2, sqrt_bc2, eps, minus_step; };

DEV void step(float* p, u16* half, const float* g, float* m, float* v, i64 n, const factors& f) {
  const i64 i = ((i64)blockIdx.x * 256 + threadIdx.x) * 4;
  const bool vec = aligned16(p, g, m, v);
  quad qp = load4(p, i, n, vec), qg = load4(g, i, n, vec), qm = load4(m, i, n, vec), qv = load4(v, i, n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const float x = qg.v[k] * f.grad_scale;
    qm.v[k] = fma(f.one_minus_beta1, x - qm.v[k], qm.v[k]);
    qv.v[k] = fma(f.one_minus_beta2 * x, x, qv.v[k] * f.beta2);
    const float denominator = sqrt(qv.v[k]) / f.sqrt_bc2 + f.eps;
    qp.v[k] = qp.v[k] * f.decay + f.minus_step * qm.v[k] / denominator;
  }
  store4(p, i, n, vec, qp);
  store4(m, i, n, vec, qm);
  store4(v, i, n, vec, qv);
  if (half) store4_bf16(half, i, n, aligned8(half), qp);
}

KERNEL __launch_bounds__(256) adamw_step(float* p, u16*, const float* g, float* m, float* v, i64 n, factors f) { step(p, 0, g, m, v, n, f); }
KERNEL __launch_bounds__(256) adamw_step_bf16(float* p, u16* half, const float* g, float* m, float* v, i64 n, factors f) { step(p, half, g, m, v, n, f); }
