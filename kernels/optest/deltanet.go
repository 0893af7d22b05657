package optest

import "math"

// DeltaNet is the gated delta rule, token by token, over one or more segments.
type DeltaNet[F Float] struct {
	Segments                               []int32
	KeyHeads, ValueHeads, KeyDim, ValueDim int
	Q, K, V, A, B, ALog, DtBias            []F
}

// deltaToken is the values that one step of one head computed.
type deltaToken[F Float] struct {
	q, k       []F // normalised
	rq, rk     F
	g, beta    F
	decayed, s []F // the state before and after the update
	left, u    []F // v − Sᵀk̂, times β
}

// Forward returns the output.
func (d *DeltaNet[F]) Forward() []F {
	out := make([]F, len(d.V))
	for i := range d.Segments[1:] {
		for h := range d.ValueHeads {
			d.tokens(i, h, out)
		}
	}
	return out
}

func log1p[F Float](x F) F { return F(math.Log1p(float64(x))) }

// tokens runs one head over one segment, and writes its output.
func (d *DeltaNet[F]) tokens(segment, head int, out []F) []deltaToken[F] {
	s := make([]F, d.KeyDim*d.ValueDim)
	var all []deltaToken[F]
	for t := int(d.Segments[segment]); t < int(d.Segments[segment+1]); t++ {
		x := d.token(t, head, s)
		for j := range d.ValueDim {
			var sum F
			for i, q := range x.q {
				sum += q * x.s[i*d.ValueDim+j]
			}
			out[(t*d.ValueHeads+head)*d.ValueDim+j] = sum
		}
		s = x.s
		all = append(all, x)
	}
	return all
}

func (d *DeltaNet[F]) token(t, head int, s []F) (x deltaToken[F]) {
	key := (t*d.KeyHeads + head/(d.ValueHeads/d.KeyHeads)) * d.KeyDim
	x.q, x.rq = unit(d.Q[key:key+d.KeyDim], 1/sqrt(F(d.KeyDim)))
	x.k, x.rk = unit(d.K[key:key+d.KeyDim], 1)
	gate := t*d.ValueHeads + head
	x.beta = 1 / (1 + exp(-d.B[gate]))
	x.g = -exp(d.ALog[head]) * log1p(exp(d.A[gate]+d.DtBias[head]))
	v := d.V[gate*d.ValueDim:][:d.ValueDim]
	x.decayed, x.s = make([]F, len(s)), make([]F, len(s))
	for i := range s {
		x.decayed[i] = exp(x.g) * s[i]
	}
	for j := range d.ValueDim {
		left := v[j]
		for i, k := range x.k {
			left -= k * x.decayed[i*d.ValueDim+j]
		}
		x.left, x.u = append(x.left, left), append(x.u, x.beta*left)
	}
	for i, k := range x.k {
		for j, u := range x.u {
			x.s[i*d.ValueDim+j] = x.decayed[i*d.ValueDim+j] + k*u
		}
	}
	return x
}

// unit returns x·scale/√(Σx² + 1e-6), and 1/√(Σx² + 1e-6).
func unit[F Float](x []F, scale F) (y []F, r F) {
	sum := F(1e-6)
	for _, v := range x {
		sum += v * v
	}
	r = 1 / sqrt(sum)
	for _, v := range x {
		y = append(y, v*r*scale)
	}
	return y, r
}

// Backward returns the gradients of Q, K, V, A, B, ALog and DtBias.
func (d *DeltaNet[F]) Backward(dout []F) [][]F {
	var grad [][]F
	for _, x := range [][]F{d.Q, d.K, d.V, d.A, d.B, d.ALog, d.DtBias} {
		grad = append(grad, make([]F, len(x)))
	}
	for i := range d.Segments[1:] {
		for h := range d.ValueHeads {
			all, ds := d.tokens(i, h, make([]F, len(d.V))), make([]F, d.KeyDim*d.ValueDim)
			for n := len(all) - 1; n >= 0; n-- {
				d.back(int(d.Segments[i])+n, h, all[n], ds, dout, grad)
			}
		}
	}
	return grad
}

// back turns ds from the gradient of the state after a token into that of the state before
// it.
func (d *DeltaNet[F]) back(t, head int, x deltaToken[F], ds, dout []F, grad [][]F) {
	n, gate := d.ValueDim, t*d.ValueHeads+head
	do := dout[gate*n:][:n]
	dq, dk, du := make([]F, d.KeyDim), make([]F, d.KeyDim), make([]F, n)
	for i := range d.KeyDim {
		for j := range n {
			dq[i] += x.s[i*n+j] * do[j]
			ds[i*n+j] += x.q[i] * do[j]
			dk[i] += ds[i*n+j] * x.u[j]
			du[j] += ds[i*n+j] * x.k[i]
		}
	}
	var dbeta, dg F
	for j := range n {
		dbeta += du[j] * x.left[j]
		du[j] *= x.beta
		grad[2][gate*n+j] = du[j]
	}
	for i := range d.KeyDim {
		for j := range n {
			dk[i] -= x.decayed[i*n+j] * du[j]
			ds[i*n+j] -= x.k[i] * du[j]
			dg += ds[i*n+j] * x.decayed[i*n+j]
			ds[i*n+j] *= exp(x.g)
		}
	}
	z := d.A[gate] + d.DtBias[head]
	da := -dg * exp(d.ALog[head]) / (1 + exp(-z))
	grad[3][gate] = da
	grad[4][gate] = dbeta * x.beta * (1 - x.beta)
	grad[5][head] += dg * x.g
	grad[6][head] += da
	key := (t*d.KeyHeads + head/(d.ValueHeads/d.KeyHeads)) * d.KeyDim
	fromUnit(grad[0][key:][:d.KeyDim], dq, x.q, x.rq, 1/sqrt(F(d.KeyDim)))
	fromUnit(grad[1][key:][:d.KeyDim], dk, x.k, x.rk, 1)
}

// fromUnit adds to dx the gradient of x for y = x·r·scale.
func fromUnit[F Float](dx, dy, y []F, r, scale F) {
	along := product(dy, y) / (scale * scale)
	for i := range dy {
		dx[i] += r * scale * (dy[i] - along*y[i])
	}
}

// product is Σ x·y in the precision of F.
func product[F Float](x, y []F) (sum F) {
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

// ShortConv is the causal convolution of every channel, w [C, K], followed by silu if
// requested. bias nil: nothing is added.
func ShortConv[F Float](x, w, bias []F, segments []int32, width int, silu bool) (out, z []F) {
	channels := len(w) / width
	for i := range segments[1:] {
		for t := int(segments[i]); t < int(segments[i+1]); t++ {
			for c := range channels {
				var sum F
				if bias != nil {
					sum = bias[c]
				}
				for j := range width {
					if at := t - width + 1 + j; at >= int(segments[i]) {
						sum += w[c*width+j] * x[at*channels+c]
					}
				}
				z = append(z, sum)
				if silu {
					sum /= 1 + exp(-sum)
				}
				out = append(out, sum)
			}
		}
	}
	return out, z
}

// ShortConvGrad returns the gradients of x, w and bias.
func ShortConvGrad[F Float](dout, x, w, bias []F, segments []int32, width int, silu bool) (dx, dw, db []F) {
	channels := len(w) / width
	_, z := ShortConv(x, w, bias, segments, width, silu)
	dx, dw, db = make([]F, len(x)), make([]F, len(w)), make([]F, channels)
	for i := range segments[1:] {
		for t := int(segments[i]); t < int(segments[i+1]); t++ {
			for c := range channels {
				g := dout[t*channels+c]
				if s := 1 / (1 + exp(-z[t*channels+c])); silu {
					g *= s * (1 + z[t*channels+c]*(1-s))
				}
				db[c] += g
				for j := range width {
					if at := t - width + 1 + j; at >= int(segments[i]) {
						dx[at*channels+c] += w[c*width+j] * g
						dw[c*width+j] += x[at*channels+c] * g
					}
				}
			}
		}
	}
	return dx, dw, db
}
