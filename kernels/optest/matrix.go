package optest

// Mul returns op(a)·op(b) [m, n]: a is [m, k], or [k, m] if ta; b is [k, n], or
// [n, k] if tb.
func Mul[F Float](a, b []F, m, n, k int, ta, tb bool) []F {
	c := make([]F, m*n)
	for i := range m {
		for j := range n {
			var s F
			for l := range k {
				x, y := i*k+l, l*n+j
				if ta {
					x = l*m + i
				}
				if tb {
					y = j*k + l
				}
				s += a[x] * b[y]
			}
			c[i*n+j] = s
		}
	}
	return c
}

// LoRA returns u = x·aᵀ and y + scale·u·bᵀ.
func LoRA[F Float](x, a, b, y []F, scale F, t, in, out, r int) (u, sum []F) {
	u = Mul(x, a, t, r, in, false, true)
	sum = Mul(u, b, t, out, r, false, true)
	for i := range sum {
		sum[i] = y[i] + scale*sum[i]
	}
	return u, sum
}

// LoRAGrad returns v and the gradients of x, a and b.
func LoRAGrad[F Float](dy, x, a, b []F, scale F, t, in, out, r int) (v, dx, da, db []F) {
	u := Mul(x, a, t, r, in, false, true)
	v = Mul(dy, b, t, r, out, false, false)
	for i := range v {
		v[i] *= scale
	}
	dx = Mul(v, a, t, in, r, false, false)
	da = Mul(v, x, r, in, t, true, false)
	db = Mul(dy, u, out, r, t, true, false)
	for i := range db {
		db[i] *= scale
	}
	return v, dx, da, db
}
