package deltanet

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed deltanet.sm80.ptx.br
var sm80 string

var family = ptx.New("deltanet", sm80)

// DeviceKeyDim is the largest KeyDim for which devices have kernels.
const DeviceKeyDim = 128

// As in deltanet.cu.
const (
	deviceChunk    = 32 // tokens
	deviceSlice    = 32 // columns of values
	deviceThreads  = 256
	keysBytes      = 4 * (2*deviceChunk*(DeviceKeyDim+1) + 2*deviceChunk*(deviceChunk+1) + 5*deviceChunk)
	stateBytes     = 4 * DeviceKeyDim * (deviceSlice + 1)
	rowsBytes      = 4 * deviceChunk * (deviceSlice + 1)
	forwardShared  = keysBytes + stateBytes + rowsBytes
	backwardShared = forwardShared + stateBytes + 2*rowsBytes + 4*(2*deviceChunk*(deviceChunk+1)+5*deviceChunk+deviceThreads/32)
)

// Parameters of the kernels of deltanet.cu.
type (
	ruleArguments struct {
		q, k, rate, beta, v, segments, first, saved uintptr
		keyHeads, valueHeads, keyDim, valueDim      int32
	}
	forwardParameters struct {
		rule               ruleArguments
		out, slots, states uintptr
	}
	gradientArguments struct {
		dout, a, b, aLog, dtBias uintptr
		dq, dk, dv, da, db, sums uintptr
	}
	backwardParameters struct {
		rule      ruleArguments
		gradients gradientArguments
	}
	preparedArguments struct {
		q, k, nq, nk, lengths uintptr
		rows, heads, keyDim   int32
	}
	gatesParameters struct {
		a, b, aLog, dtBias, rate, beta uintptr
		n, heads                       int32
	}
	unnormaliseParameters struct {
		prepared             preparedArguments
		fromQ, fromK, dq, dk uintptr
		group                int32
	}
	sumsParameters struct {
		sums, aLog, dtBias uintptr
		segments, heads    int32
	}
)

var (
	forwards     = ptx.Declare[forwardParameters](family, "deltanet_forward", "deltanet_step")
	backwards    = ptx.Declare[backwardParameters](family, "deltanet_backward")
	normalises   = ptx.Declare[ptx.One[preparedArguments]](family, "deltanet_normalise")
	unnormalises = ptx.Declare[unnormaliseParameters](family, "deltanet_unnormalise")
	gateKernels  = ptx.Declare[gatesParameters](family, "deltanet_gates")
	sumKernels   = ptx.Declare[sumsParameters](family, "deltanet_sums")
)

// Slots of a queue's scratch memory.
const (
	scratchKeys = iota
	scratchGates
	scratchSaved
	scratchGradients
	scratchSums
)

// prepare normalises the queries and keys of that many rows and computes their gates.
func (p Params) prepare(q *ptx.Queue, in Inputs, rows int) (ruleArguments, preparedArguments) {
	if p.KeyDim > DeviceKeyDim {
		panic("deltanet: no kernel for keys of that length")
	}
	n, gates := in.Q.Len(), rows*p.ValueHeads
	keys := q.Floats(scratchKeys, 2*n+2*rows*p.KeyHeads)
	rates := q.Floats(scratchGates, 2*gates)
	at := func(s driver.F32, from int) uintptr { return s.Sub(from, s.Len()).Addr() }
	a := preparedArguments{
		q: in.Q.Addr(), k: in.K.Addr(), nq: keys.Addr(), nk: at(keys, n), lengths: at(keys, 2*n),
		rows: int32(rows * p.KeyHeads), heads: int32(p.KeyHeads), keyDim: int32(p.KeyDim),
	}
	normalises.Launch(q, "deltanet_normalise", ptx.Grid(ptx.Blocks(rows*p.KeyHeads, 4), 128), &ptx.One[preparedArguments]{P: a})
	gateKernels.Launch(q, "deltanet_gates", ptx.Grid(ptx.Blocks(gates, 256), 256), &gatesParameters{
		a: in.A.Addr(), b: in.B.Addr(), aLog: in.ALog.Addr(), dtBias: in.DtBias.Addr(), rate: rates.Addr(), beta: at(rates, gates),
		n: int32(gates), heads: int32(p.ValueHeads),
	})
	return ruleArguments{
		q: a.nq, k: a.nk, rate: rates.Addr(), beta: at(rates, gates), v: in.V.Addr(),
		keyHeads: int32(p.KeyHeads), valueHeads: int32(p.ValueHeads), keyDim: int32(p.KeyDim), valueDim: int32(p.ValueDim),
	}, a
}

// cut uploads the segments, and for each one the index of its second chunk among the saved
// states, of which it returns the number: a segment's first chunk starts from zeros.
func (p Params) cut(q *ptx.Queue, r *ruleArguments) (saved int) {
	first := make([]int32, len(p.Segments)-1)
	for i, end := range p.Segments[1:] {
		first[i] = int32(saved)
		saved += ptx.Blocks(int(end-p.Segments[i]), deviceChunk) - 1
	}
	r.segments, r.first = ptx.Upload(q, p.Segments), ptx.Upload(q, first)
	return saved
}

func (p Params) forwardPTX(dev driver.Launcher, in Inputs, out driver.F32, slots []int32, states driver.F32) {
	q := ptx.On(dev)
	r, _ := p.prepare(q, in, p.tokens())
	p.cut(q, &r)
	a := forwardParameters{rule: r, out: out.Addr(), states: states.Addr()}
	if slots != nil {
		a.slots = ptx.Upload(q, slots)
	}
	p.forward(q, &a)
}

func (p Params) forward(q *ptx.Queue, a *forwardParameters) {
	grid := ptx.Grid2((len(p.Segments)-1)*p.ValueHeads, ptx.Blocks(p.ValueDim, deviceSlice), deviceThreads)
	grid.Shared = forwardShared
	forwards.Launch(q, "deltanet_forward", grid, a)
}

func (p Params) stepPTX(dev driver.Launcher, in Inputs, out driver.F32, slots []int32, states driver.F32) {
	q := ptx.On(dev)
	r, _ := p.prepare(q, in, len(slots))
	forwards.Launch(q, "deltanet_step", ptx.Grid2(len(slots)*p.ValueHeads, ptx.Blocks(p.ValueDim, 128), 128), &forwardParameters{
		rule: r, out: out.Addr(), slots: ptx.Upload(q, slots), states: states.Addr(),
	})
}

// backwardPTX recomputes the states before the chunks. Its scratch memory depends on the
// number of tokens, and is not larger for a batch with more segments.
func (p Params) backwardPTX(dev driver.Launcher, in Inputs, dout driver.F32, grad Gradients) {
	q, rows, segments := ptx.On(dev), p.tokens(), len(p.Segments)-1
	r, prepared := p.prepare(q, in, rows)
	if saved := p.cut(q, &r); saved > 0 {
		r.saved = q.Scratch(scratchSaved, 4*saved*p.State())
		p.forward(q, &forwardParameters{rule: r})
	}
	n := rows * p.ValueHeads * p.KeyDim
	gradients := q.Floats(scratchGradients, 2*n)
	dk := gradients.Sub(n, 2*n).Addr()
	sums := q.Scratch(scratchSums, 4*2*rows*p.ValueHeads)
	grid := ptx.Grid(segments*p.ValueHeads, deviceThreads)
	grid.Shared = backwardShared
	backwards.Launch(q, "deltanet_backward", grid, &backwardParameters{rule: r, gradients: gradientArguments{
		dout: dout.Addr(), a: in.A.Addr(), b: in.B.Addr(), aLog: in.ALog.Addr(), dtBias: in.DtBias.Addr(),
		dq: gradients.Addr(), dk: dk, dv: grad.V.Addr(), da: grad.A.Addr(), db: grad.B.Addr(), sums: sums,
	}})
	unnormalises.Launch(q, "deltanet_unnormalise", ptx.Grid(ptx.Blocks(rows*p.KeyHeads, 4), 128), &unnormaliseParameters{
		prepared: prepared, fromQ: gradients.Addr(), fromK: dk, dq: grad.Q.Addr(), dk: grad.K.Addr(), group: int32(p.ValueHeads / p.KeyHeads),
	})
	sumKernels.Launch(q, "deltanet_sums", ptx.Grid(ptx.Blocks(p.ValueHeads, 128), 128), &sumsParameters{
		sums: sums, aLog: grad.ALog.Addr(), dtBias: grad.DtBias.Addr(), segments: int32(segments), heads: int32(p.ValueHeads),
	})
}
