package optest

import "math"

// Xent is the language model head with cross entropy, written out.
type Xent[F Float] struct {
	Rows, Hidden, Vocab            int
	Smoothing, SoftCap, LogitScale F
	H, W                           []F
	Targets                        []int32
	Weight                         []F
	Narrow                         func(F) F // rounds a logit's gradient; nil = not rounded
}

// Run returns the losses and the gradients of Σ weight·loss by h and w.
func (x *Xent[F]) Run() (loss, dh, dw []F) {
	loss, dh, dw = make([]F, x.Rows), make([]F, len(x.H)), make([]F, len(x.W))
	for t := range x.Rows {
		if x.Targets[t] >= 0 {
			loss[t] = x.row(t, dh, dw)
		}
	}
	return loss, dh, dw
}

func (x *Xent[F]) row(t int, dh, dw []F) F {
	h := x.H[t*x.Hidden : (t+1)*x.Hidden]
	z := Mul(h, x.W, 1, x.Vocab, x.Hidden, false, true)
	slope := make([]F, x.Vocab)
	top, mean := F(math.Inf(-1)), F(0)
	for j := range z {
		z[j] *= x.LogitScale
		slope[j] = x.LogitScale
		if x.SoftCap > 0 {
			c := tanh(z[j] / x.SoftCap)
			z[j], slope[j] = x.SoftCap*c, x.LogitScale*(1-c*c)
		}
		top = max(top, z[j])
		mean += z[j] / F(x.Vocab)
	}
	var sum F
	for _, v := range z {
		sum += exp(v - top)
	}
	lse := top + F(math.Log(float64(sum)))
	for j, v := range z {
		dz := exp(v-lse) - x.Smoothing/F(x.Vocab)
		if j == int(x.Targets[t]) {
			dz -= 1 - x.Smoothing
		}
		dz *= x.Weight[t] * slope[j]
		if x.Narrow != nil {
			dz = x.Narrow(dz)
		}
		for l := range x.Hidden {
			dh[t*x.Hidden+l] += dz * x.W[j*x.Hidden+l]
			dw[j*x.Hidden+l] += dz * h[l]
		}
	}
	return (1-x.Smoothing)*(lse-z[x.Targets[t]]) + x.Smoothing*(lse-mean)
}
