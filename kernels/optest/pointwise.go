package optest

import "math"

func exp[F Float](x F) F  { return F(math.Exp(float64(x))) }
func sqrt[F Float](x F) F { return F(math.Sqrt(float64(x))) }
func tanh[F Float](x F) F { return F(math.Tanh(float64(x))) }

// RMSNorm returns y [T, d] and rstd [T].
func RMSNorm[F Float](x, w []F, eps F) (y, rstd []F) {
	d := len(w)
	y, rstd = make([]F, len(x)), make([]F, len(x)/d)
	for t := range rstd {
		var s F
		for _, v := range x[t*d : (t+1)*d] {
			s += v * v
		}
		rstd[t] = 1 / sqrt(s/F(d)+eps)
		for j := range d {
			y[t*d+j] = w[j] * (x[t*d+j] * rstd[t])
		}
	}
	return y, rstd
}

// RMSNormGrad returns the gradients of x and w.
func RMSNormGrad[F Float](dy, x, w []F, eps F) (dx, dw []F) {
	d := len(w)
	_, rstd := RMSNorm(x, w, eps)
	dx, dw = make([]F, len(x)), make([]F, d)
	for t, r := range rstd {
		var dot F
		for j := t * d; j < (t+1)*d; j++ {
			dot += dy[j] * w[j-t*d] * (x[j] * r)
			dw[j-t*d] += dy[j] * (x[j] * r)
		}
		for j := t * d; j < (t+1)*d; j++ {
			dx[j] = r * (dy[j]*w[j-t*d] - x[j]*r*(dot/F(d)))
		}
	}
	return dx, dw
}

// SwiGLU returns silu(gate)·up.
func SwiGLU[F Float](gate, up []F) []F {
	out := make([]F, len(gate))
	for i, g := range gate {
		out[i] = g / (1 + exp(-g)) * up[i]
	}
	return out
}

// SwiGLUGrad returns the gradients of gate and up.
func SwiGLUGrad[F Float](dout, gate, up []F) (dgate, dup []F) {
	dgate, dup = make([]F, len(gate)), make([]F, len(gate))
	for i, g := range gate {
		s := 1 / (1 + exp(-g))
		dgate[i] = dout[i] * up[i] * s * (1 + g*(1-s))
		dup[i] = dout[i] * g * s
	}
	return dgate, dup
}

// RoPE returns x [T, heads·headDim] with the pairs (i, i+dim/2) of every head's first dim
// elements rotated by pos·inv[i], and multiplied by scale.
func RoPE[F Float](x []F, pos []int32, inv []F, scale F, heads, headDim int) []F {
	y := append([]F(nil), x...)
	half := len(inv)
	for t, p := range pos {
		for h := range heads {
			head := y[(t*heads+h)*headDim:][:headDim]
			for i, f := range inv {
				// The angle itself is a float32 by definition of the op.
				sin, cos := math.Sincos(float64(float32(p) * float32(f)))
				c, s := F(cos)*scale, F(sin)*scale
				u, v := head[i], head[i+half]
				head[i], head[i+half] = u*c-v*s, v*c+u*s
			}
		}
	}
	return y
}

// Product is up times gate, or times σ(gate).
func Product[F Float](gate, up []F, sigmoid bool) []F {
	var out []F
	for i, g := range gate {
		if sigmoid {
			g = 1 / (1 + exp(-g))
		}
		out = append(out, g*up[i])
	}
	return out
}

// ProductGrad returns the gradients of gate and up.
func ProductGrad[F Float](dout, gate, up []F, sigmoid bool) (dgate, dup []F) {
	for i, g := range gate {
		slope := F(1)
		if sigmoid {
			g = 1 / (1 + exp(-g))
			slope = g * (1 - g)
		}
		dgate, dup = append(dgate, dout[i]*up[i]*slope), append(dup, dout[i]*g)
	}
	return dgate, dup
}
