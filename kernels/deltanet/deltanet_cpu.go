package deltanet

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

// chunk is the number of tokens for which the rule is computed at a time.
const chunk = 64

const epsilon = 1e-6 // for the norms of queries and keys

// host are inputs or gradients on the host.
type host struct{ q, k, v, a, b, aLog, dtBias []float32 }

func hosted(in Inputs) host {
	return host{in.Q.Host(), in.K.Host(), in.V.Host(), in.A.Host(), in.B.Host(), in.ALog.Host(), in.DtBias.Host()}
}

// task is the memory of a thread: that of the forward pass of one head over one chunk.
type task struct {
	n         int       // tokens of the chunk
	q, k      []float32 // [chunk, KeyDim], normalised
	lengthQ   []float32 // [chunk], 1/√(Σq² + ε)
	lengthK   []float32
	u         []float32 // [chunk, ValueDim]
	w         []float32 // [chunk, ValueDim], u/β
	beta      []float32 // [chunk]
	decay     []float64 // [chunk], the sum of g up to a token
	between   []float32 // [chunk, chunk], exp(bᵢ−bⱼ) for j ≤ i
	kk, qk    []float32 // [chunk, chunk]: exp(bᵢ−bⱼ)·k̂ᵢ·k̂ⱼ for j < i, and exp(bᵢ−bⱼ)·q̂ᵢ·k̂ⱼ for j ≤ i
	state     []float32 // [KeyDim, ValueDim]
	gradients gradients
}

var tasks = scratch.NewPool[task](64)

func (p Params) take() *task {
	t := tasks.Take()
	for _, s := range []struct {
		memory *[]float32
		n      int
	}{
		{&t.q, chunk * p.KeyDim},
		{&t.k, chunk * p.KeyDim},
		{&t.lengthQ, chunk},
		{&t.lengthK, chunk},
		{&t.u, chunk * p.ValueDim},
		{&t.w, chunk * p.ValueDim},
		{&t.beta, chunk},
		{&t.between, chunk * chunk},
		{&t.kk, chunk * chunk},
		{&t.qk, chunk * chunk},
		{&t.state, p.KeyDim * p.ValueDim},
	} {
		*s.memory = scratch.Sized(*s.memory, s.n)
	}
	t.decay = scratch.Sized(t.decay, chunk)
	return t
}

// forwardCPU gives a task one value head of one segment.
func (p Params) forwardCPU(d *cpu.Device, in host, out []float32, slots []int32, states []float32) {
	segments := len(p.Segments) - 1
	d.Parallel(segments*p.ValueHeads, func(unit int) {
		segment, head := unit/p.ValueHeads, unit%p.ValueHeads
		t := p.take()
		clear(t.state)
		for from, end := int(p.Segments[segment]), int(p.Segments[segment+1]); from < end; from += chunk {
			t.n = min(chunk, end-from)
			p.load(t, in, head, from)
			p.solve(t, in, head, from)
			p.output(t, out, head, from)
			p.advance(t)
		}
		if slots != nil {
			copy(states[(int(slots[segment])*p.ValueHeads+head)*len(t.state):], t.state)
		}
		tasks.Give(t)
	})
}

// key is the index of a head's query and key in a row, value that of its v and out.
func (p Params) key(row, head int) int {
	return (row*p.KeyHeads + head*p.KeyHeads/p.ValueHeads) * p.KeyDim
}
func (p Params) value(row, head int) int { return (row*p.ValueHeads + head) * p.ValueDim }

// load normalises the queries and keys of a chunk, and computes its gates.
func (p Params) load(t *task, in host, head, from int) {
	scale := float32(1 / math.Sqrt(float64(p.KeyDim)))
	sum := 0.0
	for i := range t.n {
		row := from + i
		at := p.key(row, head)
		t.lengthQ[i] = normalise(t.q[i*p.KeyDim:][:p.KeyDim], in.q[at:], scale)
		t.lengthK[i] = normalise(t.k[i*p.KeyDim:][:p.KeyDim], in.k[at:], 1)
		gate := row*p.ValueHeads + head
		t.beta[i] = sigmoid(in.b[gate])
		sum += float64(rate(in.a[gate], in.aLog[head], in.dtBias[head]))
		t.decay[i] = sum
	}
}

// normalise is dst = x·scale/√(Σx² + ε), and returns 1/√(Σx² + ε).
func normalise(dst, x []float32, scale float32) float32 {
	copy(dst, x)
	r := float32(1 / math.Sqrt(simd.SumSquares(dst)+epsilon))
	simd.Scale(r*scale, dst)
	return r
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

// rate is g of a token.
func rate(a, aLog, dtBias float32) float32 {
	return float32(-math.Exp(float64(aLog)) * softplus(float64(a+dtBias)))
}

// softplus is log(1 + exp(x)).
func softplus(x float64) float64 {
	if x > 20 {
		return x
	}
	return math.Log1p(math.Exp(x))
}

func exp(x float64) float32 { return float32(math.Exp(x)) }

// solve computes w, u and the products of queries and keys of a chunk, from the state before
// it.
func (p Params) solve(t *task, in host, head, from int) {
	dk, dv := p.KeyDim, p.ValueDim
	for i := range t.n {
		k, q := t.k[i*dk:][:dk], t.q[i*dk:][:dk]
		w, u := t.w[i*dv:][:dv], t.u[i*dv:][:dv]
		copy(w, in.v[p.value(from+i, head):])
		e := exp(t.decay[i])
		for d, x := range k {
			simd.Axpy(-e*x, t.state[d*dv:][:dv], w)
		}
		for j := range i {
			g := exp(t.decay[i] - t.decay[j])
			t.between[i*chunk+j] = g
			kj := t.k[j*dk:][:dk]
			t.kk[i*chunk+j], t.qk[i*chunk+j] = g*simd.Dot(k, kj), g*simd.Dot(q, kj)
			simd.Axpy(-t.kk[i*chunk+j], t.u[j*dv:][:dv], w)
		}
		t.between[i*chunk+i], t.qk[i*chunk+i] = 1, simd.Dot(q, k)
		copy(u, w)
		simd.Scale(t.beta[i], u)
	}
}

// output computes o of a chunk, from its u and the state before it.
func (p Params) output(t *task, out []float32, head, from int) {
	dk, dv := p.KeyDim, p.ValueDim
	for i := range t.n {
		o := out[p.value(from+i, head):][:dv]
		clear(o)
		e := exp(t.decay[i])
		for d, x := range t.q[i*dk:][:dk] {
			simd.Axpy(e*x, t.state[d*dv:][:dv], o)
		}
		for j := range i + 1 {
			simd.Axpy(t.qk[i*chunk+j], t.u[j*dv:][:dv], o)
		}
	}
}

// advance updates the state to the one after the chunk.
func (p Params) advance(t *task) {
	dk, dv := p.KeyDim, p.ValueDim
	last := t.n - 1
	simd.Scale(exp(t.decay[last]), t.state)
	for j := range t.n {
		e := t.between[last*chunk+j]
		for d, x := range t.k[j*dk:][:dk] {
			simd.Axpy(e*x, t.u[j*dv:][:dv], t.state[d*dv:][:dv])
		}
	}
}

// stepCPU is the rule as written above, for one token.
func (p Params) stepCPU(d *cpu.Device, in host, out []float32, slots []int32, states []float32) {
	dk, dv := p.KeyDim, p.ValueDim
	d.Parallel(len(slots)*p.ValueHeads, func(unit int) {
		row, head := unit/p.ValueHeads, unit%p.ValueHeads
		t := p.take()
		t.n = 1
		p.load(t, in, head, row)
		state := states[(int(slots[row])*p.ValueHeads+head)*dk*dv:][:dk*dv]
		simd.Scale(exp(t.decay[0]), state)
		u := t.u[:dv]
		copy(u, in.v[p.value(row, head):])
		for d, x := range t.k[:dk] {
			simd.Axpy(-x, state[d*dv:][:dv], u)
		}
		simd.Scale(t.beta[0], u)
		o := out[p.value(row, head):][:dv]
		clear(o)
		for d := range dk {
			s := state[d*dv:][:dv]
			simd.Axpy(t.k[d], u, s)
			simd.Axpy(t.q[d], s, o)
		}
		tasks.Give(t)
	})
}
