package decoder

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/model/tensor"
)

// PiSSA (Meng et al. 2024, arXiv:2404.02948, section 3) initialises an adapter with the
// principal part of its weight and keeps the rest in the weight: with the singular value
// decomposition W = U S Vᵀ, A = √(S/s) Vᵀ and B = U √(S/s) over the Rank largest singular
// values, and W becomes W - s·B·A. The singular vectors are exact to float32, whereas PEFT's
// pissa_niter_N are approximate.

// startPiSSA initialises every adapter with the principal part of its weight, and subtracts it
// from the weight.
func (m *Model) startPiSSA() error {
	if m.Quantised() {
		return errors.New("PiSSA takes its start out of the weights, and quantised ones stay as they are: start plain LoRA, or take the model in bf16, fp16 or float32")
	}
	m.adapter.start = map[*tensor.Param][]float32{}
	for _, mod := range m.adapter.modules {
		lin := mod.linear
		w, err := lin.Weight.Read(m.dev)
		if err != nil {
			return err
		}
		w = slices.Clone(w) // Read may return the weight's own memory
		a, b, err := PiSSA(m.dev, w, lin.Out, lin.In, lin.LoRA.Rank, lin.LoRA.Scale)
		if err != nil {
			return fmt.Errorf("the principal part of %s: %w", mod.path, err)
		}
		for _, err := range []error{lin.LoRA.A.Upload(m.dev, a), lin.LoRA.B.Upload(m.dev, b), lin.Weight.Upload(m.dev, w)} {
			if err != nil {
				return fmt.Errorf("the principal part of %s: %w", mod.path, err)
			}
		}
		m.adapter.start[lin.LoRA.A], m.adapter.start[lin.LoRA.B] = a, b
	}
	return nil
}

// PiSSA splits w [out, in] into its principal part of that rank, scale·b·a with a [rank, in]
// and b [out, rank], and the residual, which overwrites w.
func PiSSA(dev driver.Device, w []float32, out, in, rank int, scale float32) (a, b []float32, err error) {
	if rank > min(out, in) {
		return nil, nil, fmt.Errorf("a matrix [%d, %d] has no %d singular values: lower lora_rank", out, in, rank)
	}
	p := &truncatedSVD{dev: dev, out: out, in: in}
	defer p.free()
	if err := p.upload(w, rank); err != nil {
		return nil, nil, err
	}
	u, s, v, err := p.decompose(rank)
	if err != nil {
		return nil, nil, err
	}
	a, b = make([]float32, rank*in), make([]float32, out*rank)
	for k := range rank {
		root := math.Sqrt(s[k] / float64(scale))
		for j := range in {
			a[k*in+j] = float32(root * v[j*p.k+k])
		}
		for i := range out {
			b[i*rank+k] = float32(root * u[i*p.k+k])
		}
	}
	for i := range out {
		row := w[i*in : (i+1)*in]
		for j := range row {
			var t float64
			for k := range rank {
				t += float64(b[i*rank+k]) * float64(a[k*in+j])
			}
			row[j] = float32(float64(row[j]) - float64(scale)*t)
		}
	}
	return a, b, nil
}

// truncatedSVD computes the largest singular values and vectors of a matrix by subspace iteration,
// Q ← orthonormal(Wᵀ W Q), until the vectors are exact to float32. The subspace is wider than
// the number of vectors, which makes it converge faster.
type truncatedSVD struct {
	dev     driver.Device
	out, in int
	k       int // width of the subspace

	memory  []driver.Memory
	w, q, z driver.F32 // [out, in], [in, k], [out, k]
}

const (
	spareVectors   = 24 // columns of the subspace beyond twice the wanted ones
	mostIterations = 300
	converged      = 2e-6 // largest residual of a singular pair, relative to the largest singular value
)

func (p *truncatedSVD) upload(w []float32, rank int) error {
	p.k = min(p.out, p.in, 2*rank+spareVectors)
	for _, x := range []struct {
		to *driver.F32
		n  int
	}{{&p.w, p.out * p.in}, {&p.q, p.in * p.k}, {&p.z, p.out * p.k}} {
		m, err := p.dev.Alloc(4 * x.n)
		if err != nil {
			return err
		}
		p.memory = append(p.memory, m)
		*x.to = driver.View[float32](m)
	}
	return driver.Upload(p.dev, p.w, w)
}

func (p *truncatedSVD) free() {
	for _, m := range p.memory {
		p.dev.Free(m)
	}
}

// decompose returns u [out, k], s [k] and v [in, k], with s in descending order.
func (p *truncatedSVD) decompose(rank int) (u, s, v []float64, err error) {
	r := rand.New(rand.NewPCG(uint64(p.out), uint64(p.in))) // any start will do, if it is always the same
	q := make([]float64, p.in*p.k)
	for i := range q {
		q[i] = r.NormFloat64()
	}
	orthonormal(q, p.in, p.k)
	for range mostIterations {
		z, err := p.multiply(gemm.NN, q)
		if err != nil {
			return nil, nil, nil, err
		}
		// Rayleigh-Ritz: the singular values of W Q approximate those of W.
		values, vectors := eigen(gram(z, p.out, p.k), p.k)
		s = make([]float64, p.k)
		for i, x := range values {
			s[i] = math.Sqrt(max(x, 0))
		}
		u, v = rotate(z, vectors, p.out, p.k), rotate(q, vectors, p.in, p.k)
		for i := range u {
			if x := s[i%p.k]; x > 0 {
				u[i] /= x
			}
		}
		back, err := p.multiply(gemm.TN, u)
		if err != nil {
			return nil, nil, nil, err
		}
		if residual(back, v, s, p.in, p.k, rank) <= converged*s[0] {
			return u, s, v, nil
		}
		q = back
		orthonormal(q, p.in, p.k)
	}
	return u, s, v, nil // float32 products reach no smaller residual
}

// multiply returns W x for x [in, k] (NN), or Wᵀ x for x [out, k] (TN).
func (p *truncatedSVD) multiply(tr gemm.Transpose, x []float64) ([]float64, error) {
	from, to, rows, depth := p.q, p.z, p.out, p.in
	if tr == gemm.TN {
		from, to, rows, depth = p.z, p.q, p.in, p.out
	}
	narrow := make([]float32, len(x))
	for i, v := range x {
		narrow[i] = float32(v)
	}
	if err := driver.Upload(p.dev, from, narrow); err != nil {
		return nil, err
	}
	gemm.Run(p.dev, tr, 1, gemm.Dense(p.w, p.out, p.in), gemm.Dense(from, depth, p.k), 0, gemm.Dense(to, rows, p.k))
	y, err := driver.Read(p.dev, to)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(y))
	for i, v := range y {
		out[i] = float64(v)
	}
	return out, nil
}

// residual returns the largest ‖Wᵀu_i - s_i·v_i‖ of the first pairs; back is Wᵀu.
func residual(back, v, s []float64, n, k, pairs int) float64 {
	var worst float64
	for i := range pairs {
		var d float64
		for j := range n {
			x := back[j*k+i] - s[i]*v[j*k+i]
			d += x * x
		}
		worst = max(worst, math.Sqrt(d))
	}
	return worst
}

// orthonormal orthonormalises the columns of x [n, k] by Gram-Schmidt, applied twice against
// rounding.
func orthonormal(x []float64, n, k int) {
	columns := make([]float64, n*k)
	for i := range n {
		for j := range k {
			columns[j*n+i] = x[i*k+j]
		}
	}
	for j := range k {
		c := columns[j*n : (j+1)*n]
		for range 2 {
			for l := range j {
				d := columns[l*n : (l+1)*n]
				t := dot(c, d)
				for i := range c {
					c[i] -= t * d[i]
				}
			}
		}
		if norm := math.Sqrt(dot(c, c)); norm > 0 {
			for i := range c {
				c[i] /= norm
			}
		}
	}
	for i := range n {
		for j := range k {
			x[i*k+j] = columns[j*n+i]
		}
	}
}

func dot(x, y []float64) float64 {
	var s float64
	for i, v := range x {
		s += v * y[i]
	}
	return s
}

// gram returns xᵀx [k, k] for x [n, k].
func gram(x []float64, n, k int) []float64 {
	g := make([]float64, k*k)
	for i := range n {
		row := x[i*k : (i+1)*k]
		for a, v := range row {
			for b := a; b < k; b++ {
				g[a*k+b] += v * row[b]
			}
		}
	}
	for a := range k {
		for b := range a {
			g[a*k+b] = g[b*k+a]
		}
	}
	return g
}

// rotate returns x [n, k] times r [k, k].
func rotate(x, r []float64, n, k int) []float64 {
	out := make([]float64, n*k)
	for i := range n {
		row := out[i*k : (i+1)*k]
		for a, v := range x[i*k : (i+1)*k] {
			for b := range row {
				row[b] += v * r[a*k+b]
			}
		}
	}
	return out
}

// eigen returns the eigenvalues of the symmetric g [k, k], largest first, and its eigenvectors
// as columns, by Jacobi's method. It overwrites g.
func eigen(g []float64, k int) (values, vectors []float64) {
	v := make([]float64, k*k)
	for i := range k {
		v[i*k+i] = 1
	}
	const sweeps = 60
	for range sweeps {
		var off, all float64
		for i := range k {
			for j := range k {
				all += g[i*k+j] * g[i*k+j]
				if i != j {
					off += g[i*k+j] * g[i*k+j]
				}
			}
		}
		if off <= 1e-30*all {
			break
		}
		for p := range k {
			for q := p + 1; q < k; q++ {
				jacobi(g, v, k, p, q)
			}
		}
	}
	order := make([]int, k)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if g[a*k+a] > g[b*k+b] {
			return -1
		}
		return 1
	})
	values, vectors = make([]float64, k), make([]float64, k*k)
	for to, from := range order {
		values[to] = g[from*k+from]
		for i := range k {
			vectors[i*k+to] = v[i*k+from]
		}
	}
	return values, vectors
}

// jacobi applies the rotation that makes g's element (p, q) zero.
func jacobi(g, v []float64, k, p, q int) {
	x := g[p*k+q]
	if x == 0 {
		return
	}
	theta := (g[q*k+q] - g[p*k+p]) / (2 * x)
	t := math.Copysign(1, theta) / (math.Abs(theta) + math.Sqrt(theta*theta+1))
	c := 1 / math.Sqrt(t*t+1)
	s := t * c
	for i := range k {
		a, b := g[i*k+p], g[i*k+q]
		g[i*k+p], g[i*k+q] = c*a-s*b, s*a+c*b
	}
	for i := range k {
		a, b := g[p*k+i], g[q*k+i]
		g[p*k+i], g[q*k+i] = c*a-s*b, s*a+c*b
	}
	for i := range k {
		a, b := v[i*k+p], v[i*k+q]
		v[i*k+p], v[i*k+q] = c*a-s*b, s*a+c*b
	}
}
