package optim

import (
	"fmt"
	"math"
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/adamw"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/tensor"
)

// Muon updates matrices along their orthogonalised momentum, and all other parameters,
// including embeddings and head, with AdamW. Weight decay applies to all of them, including
// norms and biases. It is LLaMA-Factory 0.9.5's third_party/muon (Jordan 2024; Moonshot AI
// 2025, arXiv:2502.16982: the rate of a matrix [R, C] is lr·0.2·√max(R, C)), with Nesterov
// momentum 0.95 and five Newton-Schulz iterations in bf16.
type Muon struct {
	stepped
	beta1, beta2, eps float64 // of AdamW

	room driver.Memory // working memory of the iterations
	x, s [2]driver.F32 // views of it: matrices of the size of the largest parameter, and of its short side squared
	half driver.Slice[driver.BF16]
}

const (
	muonMomentum   = 0.95
	muonIterations = 5
	muonRate       = 0.2
)

// muonA, muonB and muonC are the coefficients of the iteration X ← aX + (bA + cA²)X with A =
// XXᵀ, rounded to float32, as bf16 tensors are multiplied by them.
const muonA, muonB, muonC float32 = 3.4445, -4.7750, 2.0315

// NewMuon starts at step 0 with a momentum and moments of zero. The groups' weight decay
// must be the same.
func NewMuon(dev driver.Device, groups []Group, beta1, beta2, eps float64) (*Muon, error) {
	if err := checkBetas(beta1, beta2); err != nil {
		return nil, err
	}
	o := &Muon{beta1: beta1, beta2: beta2, eps: eps}
	largest, shortest := 0, 0
	var err error
	o.stepped, err = newStepped(dev, groups, func(s *slots, p *tensor.Param) error {
		if !orthogonalised(p) {
			return twoMoments(s, p)
		}
		short := min(p.Shape[0], p.Shape[1])
		largest, shortest = max(largest, p.Size()), max(shortest, short*short)
		return s.add(p, "b", p.Shape...)
	})
	if err != nil {
		return nil, err
	}
	// float32: two matrices of the parameter's size, two of the short side squared; bf16: one
	// of the larger of both.
	floats, halves := 2*largest+2*shortest, max(largest, shortest)
	if o.room, err = dev.Alloc(4*floats + 2*halves); err != nil {
		o.slots.free()
		return nil, fmt.Errorf("memory for Muon's iterations: %w", err)
	}
	at := driver.View[float32](o.room)
	o.x = [2]driver.F32{at.Sub(0, largest), at.Sub(largest, 2*largest)}
	o.s = [2]driver.F32{at.Sub(2*largest, 2*largest+shortest), at.Sub(2*largest+shortest, floats)}
	o.half = driver.View[driver.BF16](o.room).Sub(2*floats, 2*floats+halves)
	return o, nil
}

// orthogonalised reports whether a parameter is updated by Muon: matrices whose name contains
// neither "embed" nor "lm_head".
func orthogonalised(p *tensor.Param) bool {
	return len(p.Shape) == 2 && !strings.Contains(p.Name, "embed") && !strings.Contains(p.Name, "lm_head")
}

// Bytes implements Optimizer.
func (o *Muon) Bytes() uint64 { return o.stepped.Bytes() + uint64(o.room.Size()) }

// Close implements Optimizer.
func (o *Muon) Close() {
	o.slots.dev.Free(o.room)
	o.stepped.Close()
}

// Step implements Optimizer.
func (o *Muon) Step(lr float64, gradScale float32) {
	o.steps++
	// Upstream adds ε to the uncorrected root: torch's way with a larger ε.
	eps := o.eps / math.Sqrt(1-math.Pow(o.beta2, float64(o.steps)))
	for _, g := range o.groups {
		for _, p := range g.Params {
			rate := lr * g.LRScale
			if orthogonalised(p) {
				o.orthogonal(p, rate, g.WeightDecay, gradScale)
				continue
			}
			adamw.Step(o.slots.dev, adamw.Hyper{
				LR: rate, Beta1: o.beta1, Beta2: o.beta2, Eps: eps,
				WeightDecay: g.WeightDecay, Step: o.steps, GradScale: gradScale,
			}, o.param(p))
		}
	}
}

// orthogonal is Muon's update of a matrix.
func (o *Muon) orthogonal(p *tensor.Param, lr, decay float64, gradScale float32) {
	dev, momentum, n := o.slots.dev, o.slots.of(p)[0], p.Size()
	x := o.x[0].Sub(0, n)
	reduce.Scale(dev, muonMomentum, momentum)
	reduce.Axpy(dev, gradScale, p.Grad, momentum)
	reduce.Fill(dev, 0, x)
	reduce.Axpy(dev, gradScale, p.Grad, x)
	reduce.Axpy(dev, muonMomentum, momentum, x)
	o.newtonSchulz(x, p.Shape[0], p.Shape[1])
	if decay != 0 {
		reduce.Scale(dev, float32(1-lr*decay), p.Data)
	}
	rate := lr * muonRate * math.Sqrt(float64(max(p.Shape[0], p.Shape[1])))
	reduce.Axpy(dev, float32(-rate), x, p.Data)
	p.Sync(dev)
}

// newtonSchulz brings the singular values of x [rows, cols] close to 1, keeping its singular
// vectors. Every result is rounded to bf16, as upstream's tensors are; sums are float32. A wide
// matrix is multiplied from the left, a tall one from the right, which is equivalent to
// upstream's transposition: A and its square are symmetric to the bit.
func (o *Muon) newtonSchulz(x driver.F32, rows, cols int) {
	dev := o.slots.dev
	o.round(x)
	norm := bf16(float32(math.Sqrt(reduce.SumSquares(dev, x))))
	o.divide(x, bf16(norm+1e-7))
	short := min(rows, cols)
	a, b, y := o.s[0].Sub(0, short*short), o.s[1].Sub(0, short*short), o.x[1].Sub(0, rows*cols)
	square := y.Sub(0, short*short)
	mx, my := gemm.Dense(x, rows, cols), gemm.Dense(y, rows, cols)
	ma, mb, mSquare := gemm.Dense(a, short, short), gemm.Dense(b, short, short), gemm.Dense(square, short, short)
	for range muonIterations {
		if rows <= cols {
			gemm.Run(dev, gemm.NT, 1, mx, mx, 0, ma)
		} else {
			gemm.Run(dev, gemm.TN, 1, mx, mx, 0, ma)
		}
		o.round(a)
		o.scaled(muonC, a, b) // c·A, then (c·A)·A in place of A, which the sum needs again
		gemm.Run(dev, gemm.NN, 1, mb, ma, 0, mSquare)
		o.round(square)
		o.scaled(muonB, a, b)
		reduce.Add(dev, b, square)
		o.round(b)
		if rows <= cols {
			gemm.Run(dev, gemm.NN, 1, mb, mx, 0, my)
		} else {
			gemm.Run(dev, gemm.NN, 1, mx, mb, 0, my)
		}
		o.round(y)
		reduce.Scale(dev, muonA, x)
		o.round(x)
		reduce.Add(dev, x, y)
		o.round(x)
	}
}

// scaled is y = round(a·x).
func (o *Muon) scaled(a float32, x, y driver.F32) {
	reduce.Fill(o.slots.dev, 0, y)
	reduce.Axpy(o.slots.dev, a, x, y)
	o.round(y)
}

// divide is x = round(x/d).
func (o *Muon) divide(x driver.F32, d float32) {
	reduce.Scale(o.slots.dev, 1/d, x)
	o.round(x)
}

// round rounds x to bf16 and stores the result as float32.
func (o *Muon) round(x driver.F32) {
	half := o.half.Sub(0, x.Len())
	cast.Narrow(o.slots.dev, x, half)
	cast.Widen(o.slots.dev, half, x)
}

// bf16 rounds to nearest even.
func bf16(x float32) float32 {
	half := make([]driver.BF16, 1)
	cast.NarrowHost([]float32{x}, half)
	out := []float32{0}
	cast.WidenHost(half, out)
	return out[0]
}
