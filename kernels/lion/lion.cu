// One step of Lion: lion.go says what is computed. A thread owns four neighbouring floats,
// a block 1024. The bits are the host twin's.
//
// Floor: 20 bytes an element moved (p and m read and written, g read), at the memory's
// bandwidth. Not measured on a GPU.
// v1  16-byte accesses
#include "../dev/math.cuh"
#include "../dev/quad.cuh"

// The scalars of a step, rounded once by the host: factors in lion.go.
struct factors { float grad_scale, decay, lr, beta1, one_minus_beta1, beta2, one_minus_beta2; };

KERNEL __launch_bounds__(256) lion_step(float* p, const float* g, float* m, i64 n, factors f) {
  const i64 i = ((i64)blockIdx.x * 256 + threadIdx.x) * 4;
  const bool vec = aligned16(p, g, m);
  quad qp = load4(p, i, n, vec), qg = load4(g, i, n, vec), qm = load4(m, i, n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const float x = qg.v[k] * f.grad_scale, u = fma(f.one_minus_beta1, x, qm.v[k] * f.beta1), decayed = qp.v[k] * f.decay;
    qp.v[k] = u > 0.f ? decayed - f.lr : u < 0.f ? decayed + f.lr : decayed;
    qm.v[k] = fma(f.one_minus_beta2, x, qm.v[k] * f.beta2);
  }
  store4(p, i, n, vec, qp);
  store4(m, i, n, vec, qm);
}
