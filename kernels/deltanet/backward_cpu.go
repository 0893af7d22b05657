package deltanet

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

// gradients is what the backward pass of one head needs beside the forward pass's task.
type gradients struct {
	states []float32 // [chunks, KeyDim, ValueDim], before each chunk
	state  []float32 // [KeyDim, ValueDim], the gradient of the state after the chunk
	du     []float32 // [chunk, ValueDim], of u, then of w
	dq, dk []float32 // [chunk, KeyDim], of the normalised ones
	beta   []float32 // [chunk]
	decay  []float64 // [chunk]
	sums   []float32 // of the batch: [segments, ValueHeads, 2], for ALog and DtBias
}

func (p Params) takeBackward(longest int) *task {
	t := p.take()
	s := &t.gradients
	s.states = scratch.Sized(s.states, (longest+chunk-1)/chunk*p.KeyDim*p.ValueDim)
	s.state = scratch.Sized(s.state, p.KeyDim*p.ValueDim)
	s.du = scratch.Sized(s.du, chunk*p.ValueDim)
	s.dq, s.dk = scratch.Sized(s.dq, chunk*p.KeyDim), scratch.Sized(s.dk, chunk*p.KeyDim)
	s.beta, s.decay = scratch.Sized(s.beta, chunk), scratch.Sized(s.decay, chunk)
	return t
}

// backwardCPU gives a task one key head of one segment, with its value heads in order. The
// sums over tokens for the two parameters are added by segment.
func (p Params) backwardCPU(d *cpu.Device, in host, dout []float32, grad host) {
	segments, group := len(p.Segments)-1, p.ValueHeads/p.KeyHeads
	all := tasks.Take()
	all.gradients.sums = scratch.Sized(all.gradients.sums, segments*p.ValueHeads*2)
	sums := all.gradients.sums
	d.Parallel(segments*p.KeyHeads, func(unit int) {
		segment, key := unit/p.KeyHeads, unit%p.KeyHeads
		from, end := int(p.Segments[segment]), int(p.Segments[segment+1])
		t := p.takeBackward(end - from)
		for head := key * group; head < (key+1)*group; head++ {
			at := (segment*p.ValueHeads + head) * 2
			sums[at], sums[at+1] = p.backwardHead(t, in, dout, grad, head, from, end)
		}
		tasks.Give(t)
	})
	for i := range segments {
		for h := range p.ValueHeads {
			at := (i*p.ValueHeads + h) * 2
			if grad.aLog != nil {
				grad.aLog[h] += sums[at]
			}
			if grad.dtBias != nil {
				grad.dtBias[h] += sums[at+1]
			}
		}
	}
	tasks.Give(all)
}

// backwardHead is the backward pass of one value head over one segment, and returns the gradients of
// its ALog and DtBias.
func (p Params) backwardHead(t *task, in host, dout []float32, grad host, head, from, end int) (aLog, dtBias float32) {
	s, size := &t.gradients, p.KeyDim*p.ValueDim
	clear(t.state)
	for i, row := 0, from; row < end; i, row = i+1, row+chunk {
		copy(s.states[i*size:][:size], t.state)
		if t.n = min(chunk, end-row); row+chunk < end {
			p.load(t, in, head, row)
			p.solve(t, in, head, row)
			p.advance(t)
		}
	}
	clear(s.state)
	var sumA, sumDt float64
	for i := (end - from - 1) / chunk; i >= 0; i-- {
		row := from + i*chunk
		t.n = min(chunk, end-row)
		copy(t.state, s.states[i*size:][:size])
		p.load(t, in, head, row)
		p.solve(t, in, head, row)
		p.backwardOutput(t, dout, head, row)
		p.backwardState(t, dout, head, row)
		p.backwardSolve(t)
		p.writeInputs(t, head, row, grad)
		a, dt := p.backwardGates(t, in, head, row, grad)
		sumA, sumDt = sumA+a, sumDt+dt
	}
	return float32(sumA), float32(sumDt)
}

// backwardOutput starts the chunk's gradients with those that o contributes to u, q̂, k̂ and the
// decays.
func (p Params) backwardOutput(t *task, dout []float32, head, from int) {
	s, dk, dv := &t.gradients, p.KeyDim, p.ValueDim
	clear(s.du[:t.n*dv])
	clear(s.dk[:t.n*dk])
	clear(s.decay)
	for i := range t.n {
		do, q, dq := dout[p.value(from+i, head):][:dv], t.q[i*dk:][:dk], s.dq[i*dk:][:dk]
		e := exp(t.decay[i])
		for d := range dk {
			dq[d] = e * simd.Dot(t.state[d*dv:][:dv], do)
		}
		s.decay[i] += float64(simd.Dot(q, dq))
		for j := range i + 1 {
			simd.Axpy(t.qk[i*chunk+j], do, s.du[j*dv:][:dv])
			x := simd.Dot(do, t.u[j*dv:][:dv])
			g := x * t.between[i*chunk+j]
			simd.Axpy(g, t.k[j*dk:][:dk], dq)
			simd.Axpy(g, q, s.dk[j*dk:][:dk])
			s.decayBetween(i, j, x*t.qk[i*chunk+j])
		}
	}
}

// decayBetween adds a gradient of the decay from token j to token i.
func (s *gradients) decayBetween(i, j int, x float32) {
	s.decay[i] += float64(x)
	s.decay[j] -= float64(x)
}

// backwardState adds the contributions of the state after the chunk, and turns its gradient into
// that of the state before the chunk, as far as it comes through the decay and o; backwardSolve
// adds the rest.
func (p Params) backwardState(t *task, dout []float32, head, from int) {
	s, dk, dv := &t.gradients, p.KeyDim, p.ValueDim
	last := t.n - 1
	for j := range t.n {
		g := t.between[last*chunk+j]
		u, du, k, grad := t.u[j*dv:][:dv], s.du[j*dv:][:dv], t.k[j*dk:][:dk], s.dk[j*dk:][:dk]
		var sum float32
		for d := range dk {
			row := s.state[d*dv:][:dv]
			simd.Axpy(g*k[d], row, du)
			x := g * simd.Dot(row, u)
			grad[d] += x
			sum += x * k[d]
		}
		s.decayBetween(last, j, sum)
	}
	e := exp(t.decay[last])
	s.decay[last] += float64(e * simd.Dot(t.state, s.state))
	simd.Scale(e, s.state)
	for i := range t.n {
		do, e := dout[p.value(from+i, head):][:dv], exp(t.decay[i])
		for d, x := range t.q[i*dk:][:dk] {
			simd.Axpy(e*x, do, s.state[d*dv:][:dv])
		}
	}
}

// backwardSolve propagates back through the triangular system, last token first: du becomes the
// gradient of w, which is also that of v.
func (p Params) backwardSolve(t *task) {
	s, dk, dv := &t.gradients, p.KeyDim, p.ValueDim
	for i := t.n - 1; i >= 0; i-- {
		dw, k, grad := s.du[i*dv:][:dv], t.k[i*dk:][:dk], s.dk[i*dk:][:dk]
		s.beta[i] = simd.Dot(dw, t.w[i*dv:][:dv])
		simd.Scale(t.beta[i], dw)
		for j := range i {
			kj := t.k[j*dk:][:dk]
			simd.Axpy(-t.kk[i*chunk+j], dw, s.du[j*dv:][:dv])
			x := -simd.Dot(dw, t.u[j*dv:][:dv])
			g := x * t.between[i*chunk+j]
			simd.Axpy(g, kj, grad)
			simd.Axpy(g, k, s.dk[j*dk:][:dk])
			s.decayBetween(i, j, x*t.kk[i*chunk+j])
		}
		e := exp(t.decay[i])
		var sum float32
		for d := range dk {
			x := -e * simd.Dot(t.state[d*dv:][:dv], dw)
			grad[d] += x
			sum += x * k[d]
			simd.Axpy(-e*k[d], dw, s.state[d*dv:][:dv])
		}
		s.decay[i] += float64(sum)
	}
}

// writeInputs writes the gradients of a chunk's q, k and v. For value heads that share a key
// head they are added; the first head overwrites.
func (p Params) writeInputs(t *task, head, from int, grad host) {
	s, dk, dv := &t.gradients, p.KeyDim, p.ValueDim
	first := head%(p.ValueHeads/p.KeyHeads) == 0
	scale := float32(1 / math.Sqrt(float64(dk)))
	for i := range t.n {
		copy(grad.v[p.value(from+i, head):][:dv], s.du[i*dv:])
		at := p.key(from+i, head)
		dq, dkey := grad.q[at:][:dk], grad.k[at:][:dk]
		if first {
			clear(dq)
			clear(dkey)
		}
		backwardNormalise(dq, s.dq[i*dk:][:dk], t.q[i*dk:][:dk], t.lengthQ[i], scale)
		backwardNormalise(dkey, s.dk[i*dk:][:dk], t.k[i*dk:][:dk], t.lengthK[i], 1)
	}
}

// backwardNormalise adds to dx the gradient of x from that of n = x·r·scale.
func backwardNormalise(dx, dn, n []float32, r, scale float32) {
	along := simd.Dot(dn, n) / scale
	simd.Axpy(r*scale, dn, dx)
	simd.Axpy(-r*along, n, dx)
}

// backwardGates writes the gradients of a chunk's a and b, and returns its parts of those of ALog
// and DtBias.
func (p Params) backwardGates(t *task, in host, head, from int, grad host) (aLog, dtBias float64) {
	s := &t.gradients
	sum := 0.0 // of the gradients of b from here on: the gradient of g
	for i := t.n - 1; i >= 0; i-- {
		sum += s.decay[i]
		at := (from+i)*p.ValueHeads + head
		x := float64(in.a[at] + in.dtBias[head])
		speed := -math.Exp(float64(in.aLog[head]))
		dx := sum * speed / (1 + math.Exp(-x))
		grad.a[at] = float32(dx)
		grad.b[at] = s.beta[i] * t.beta[i] * sigmoid(-in.b[at])
		aLog, dtBias = aLog+sum*speed*softplus(x), dtBias+dx
	}
	return aLog, dtBias
}
