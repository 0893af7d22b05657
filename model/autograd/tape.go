// Package autograd records a forward pass over one micro-batch, or over several, on a tape
// and runs it backwards.
//
// Vocabulary:
//
//	value    a matrix [Rows, Cols] of float32 computed by an op, and its gradient
//	node     one recorded op: its operands, its output, and the buffers its VJP reads
//	VJP      vector-Jacobian product: from the gradient of a node's output to the
//	         gradients of its operands and parameters. One per op, in the table vjps
//	wants    a value wants a gradient if a trainable parameter lies below it. Nodes
//	         whose output wants none are not recorded
//	buffer   counted memory from the arena. A value holds its buffer until Drop, a
//	         node holds the buffers its VJP reads until the VJP has run; what nobody
//	         holds is handed out again. So activations that no VJP reads are freed
//	         during the forward pass, and gradients live in memory that activations
//	         have left
//	again    outputs of cheap ops (norms, gates, dispatch) are not kept for the linears that
//	         read them: they are computed once more in the backward pass, to the same
//	         bits
//	segment  a part of the pass of which the tape keeps the input alone: it is recorded
//	         again in the backward pass, to the same bits
//	sink     receives the factors of per-sample LoRA gradients instead of Param.Grad
//
// Invariant: gradients of parameters are added to (+=), gradients of values are
// overwritten by the first contribution and added to by later ones.
//
// Errors (no memory, a sink's) stick: after one, ops do nothing and return nil, and
// Err and Backward return it. Ops issue kernels one after the other; kernels
// parallelise inside. Nothing here is safe for concurrent use.
package autograd

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/deltanet"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/kernels/shortconv"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/tensor"
)

// Value is a matrix on the tape.
type Value struct {
	Rows, Cols int

	data *buffer   // the matrix in float32; nil: there is none (see half.go)
	half *buffer   // in bf16; likewise
	sum  *addition // it has not been computed yet: this will be it

	grad     *buffer // at most one of the two
	halfGrad *buffer // in bf16
	wants    bool
	node     int // 1 + the index of the node that computed it; 0 = not recorded

	tape *Tape
}

// Data is the matrix in float32, row-major.
func (v *Value) Data() driver.F32 {
	if b := v.tape.floats(v); b != nil {
		return b.mem
	}
	return driver.F32{}
}

// Mode says what a pass is for.
type Mode struct {
	Record   bool       // keep what Backward reads
	Dropout  bool       // apply the adapters' dropout
	Parts    []Part     // the micro-batches of the pass, in order; nil: it is one, without noise, of seed 0
	Segments []int32    // cu_seqlens of the packed batch, for Sink
	Sink     FactorSink // nil: LoRA gradients are added to Param.Grad

	// BalanceWeight times the load-balancing loss (see Tape.Balance) joins the scalar
	// that is differentiated; 0 = it does not.
	BalanceWeight float32
}

// Tape holds one pass at a time.
type Tape struct {
	BF16 bool // attention multiplies in bf16; linears do where their weights are in it
	Half bool // values are kept in bf16 where ops have kernels for it

	Adapters []*Linear // whose A and B a pass with Half narrows together; others are narrowed where they are used

	dev   driver.Device
	arena *driver.Arena
	mode  Mode
	err   error

	nodes   []node
	values  slab[Value]
	buffers slab[buffer]
	free    map[int][]*buffer // by length in floats
	ones    *buffer
	whole   [1]Part // see parts

	adapters map[*LoRA]adapterHalves // narrowed in this pass; nil: not yet

	routings []*Routing
	balance  []float32 // in Backward: BalanceWeight times Balance's slope
}

// New makes an empty tape that computes on dev.
func New(dev driver.Device) *Tape {
	return &Tape{dev: dev, arena: driver.NewArena(dev), free: map[int][]*buffer{}}
}

// Begin forgets everything recorded and starts a pass.
func (t *Tape) Begin(m Mode) {
	t.arena.Reset()
	t.mode, t.err, t.ones, t.routings, t.balance, t.adapters = m, nil, nil, nil, nil, nil
	clear(t.nodes)
	t.nodes = t.nodes[:0]
	t.values.n, t.buffers.n = 0, 0
	for n, list := range t.free {
		t.free[n] = list[:0]
	}
}

// Err is the first error since Begin.
func (t *Tape) Err() error { return t.err }

// Reserve takes the memory of passes of up to that many bytes, and forgets the last pass.
func (t *Tape) Reserve(bytes uint64) error {
	t.Begin(Mode{})
	return t.arena.Reserve(bytes)
}

// HighWater is the largest number of bytes held at once in any pass so far, or reserved.
func (t *Tape) HighWater() uint64 { return t.arena.HighWater() }

// Close gives the tape's memory back.
func (t *Tape) Close() { t.Begin(Mode{}); t.arena.Close() }

// Drop says that the forward pass will not read these values again.
func (t *Tape) Drop(values ...*Value) {
	if t.err != nil {
		return
	}
	for _, v := range values {
		t.drop(v)
	}
}

// Backward runs the VJPs of all nodes, last first, from the gradients that
// CrossEntropy left.
func (t *Tape) Backward() error {
	if w := t.mode.BalanceWeight; w != 0 && t.err == nil {
		var err error
		if _, t.balance, err = t.Balance(); err != nil {
			t.fail(err)
		}
		for e := range t.balance {
			t.balance[e] *= w
		}
	}
	t.backward(0)
	return t.err
}

// backward runs the VJPs of the nodes from that one on, last first.
func (t *Tape) backward(from int) {
	for i := len(t.nodes) - 1; i >= from && t.err == nil; i-- {
		n := &t.nodes[i]
		if n.op == opMark {
			if err := n.mark(); err != nil {
				t.fail(err)
			}
			continue
		}
		if !n.hasGradient() {
			continue
		}
		if err := t.vjp(n)(t, n); err != nil {
			t.fail(err)
		}
		for v := range n.outs {
			t.release(v.grad)
			t.release(v.halfGrad)
			v.grad, v.halfGrad = nil, nil
			t.drop(v)
		}
		for _, b := range n.saved {
			t.release(b)
		}
	}
}

// vjp is that of n, whose outputs' gradients get the type that it reads.
func (t *Tape) vjp(n *node) func(*Tape, *node) error {
	switch {
	case n.op == opSegment:
		return segmentVJP
	case n.half:
		for v := range n.outs {
			t.narrowGrad(v)
		}
		return halfVJPs[n.op]
	}
	t.widenGrad(n.out)
	return vjps[n.op]
}

// cheap reports whether v can be computed again in the backward pass.
func (t *Tape) cheap(v *Value) bool {
	return v.node > 0 && t.nodes[v.node-1].op.cheap()
}

// again returns v's data in the backward pass. What it computes lives until the
// VJP of v's node has run.
func (t *Tape) again(v *Value) driver.F32 {
	if v.data == nil && v.half == nil {
		t.remake(v)
	}
	return v.Data()
}

// remake computes a cheap op's output again, in the form in which it was recorded.
func (t *Tape) remake(v *Value) {
	n := &t.nodes[v.node-1]
	if n.half {
		v.half = t.bf16Buffer(v.Rows * v.Cols)
	} else {
		v.data = t.buffer(v.Rows * v.Cols)
	}
	if t.err == nil {
		t.compute(n)
	}
}

// node is one recorded op. Which fields are set depends on op.
type node struct {
	op    op
	half  bool // in bf16
	in    [5]*Value
	out   *Value
	more  []*Value   // outputs beside out, of a group of linears
	saved [5]*buffer // what the VJP reads

	linears   linears
	weight    *tensor.Param // embed, norm, convolution; attention: its sinks; delta rule: ALog
	norm      NormOptions
	ids       []int32 // embed: tokens; rope: positions
	embedding Embedding
	scale     float32 // residual, scaled
	rope      *rope.Table
	heads     int // rope; join: of a
	headDim   int
	attention attention.Params
	act       swiglu.Activation
	clamped   *swiglu.Clamped // in the place of act
	pointwise swiglu.Pointwise
	bias      *tensor.Param // layer norm, convolution; delta rule: DtBias
	layer     LayerOptions  // likewise
	width     int           // of its rows; columns: of a piece
	from      int           // columns; convolution: the first of the weight's channels
	conv      shortconv.Conv
	delta     deltanet.Params
	routing   *Routing
	segment   func(x *Value) *Value
	mark      func() error
}

// outs yields all outputs.
func (n *node) outs(yield func(*Value) bool) {
	if !yield(n.out) {
		return
	}
	for _, v := range n.more {
		if !yield(v) {
			return
		}
	}
}

func (n *node) hasGradient() bool {
	for v := range n.outs {
		if v.grad != nil || v.halfGrad != nil {
			return true
		}
	}
	return false
}

// record adds a node for out if the pass records and out wants a gradient;
// otherwise it returns nil.
func (t *Tape) record(o op, out *Value, in ...*Value) *node {
	if !t.mode.Record || !out.wants {
		return nil
	}
	t.nodes = append(t.nodes, node{op: o, out: out})
	n := &t.nodes[len(t.nodes)-1]
	copy(n.in[:], in)
	out.node = len(t.nodes)
	return n
}

// Mark has f called in the backward pass when the VJPs of everything recorded after it have
// run, if gradients of parameters are added up in this pass; f's error is the pass's.
func (t *Tape) Mark(f func() error) {
	if t.err == nil && t.Follows() {
		t.nodes = append(t.nodes, node{op: opMark, mark: f})
	}
}

// Follows reports whether the pass adds to gradients of parameters, so that marks are called.
func (t *Tape) Follows() bool { return t.mode.Record && t.mode.Sink == nil }

// save makes n hold buffers until its VJP has run.
func (n *node) save(buffers ...*buffer) {
	for i, b := range buffers {
		if b != nil {
			b.refs++
			n.saved[i] = b
		}
	}
}

// value makes an output in fresh memory.
func (t *Tape) value(rows, cols int, wants bool) *Value {
	v := t.alias(rows, cols, wants, nil)
	if v.data = t.buffer(rows * cols); v.data == nil {
		return nil
	}
	return v
}

// alias makes an output in memory that the caller hands over.
func (t *Tape) alias(rows, cols int, wants bool, data *buffer) *Value {
	v := t.values.take()
	*v = Value{Rows: rows, Cols: cols, wants: wants, data: data, tape: t}
	return v
}

// fail keeps the first error.
func (t *Tape) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// deposit adds the gradient in b to v's and takes over b's reference.
func (t *Tape) deposit(v *Value, b *buffer) {
	t.widenGrad(v)
	switch {
	case t.err != nil:
	case !v.wants:
		t.release(b)
	case v.grad == nil:
		v.grad = b
	default:
		if t.unshare(v); t.err != nil {
			return
		}
		reduce.Add(t.dev, v.grad.mem, b.mem)
		t.release(b)
	}
}

// accumulator makes v's gradient writable by a kernel that can add to it, and returns
// the beta with which to: 0 if nothing has been contributed yet.
func (t *Tape) accumulator(v *Value) (beta float32) {
	t.widenGrad(v)
	if v.grad == nil {
		v.grad = t.buffer(v.Rows * v.Cols)
		return 0
	}
	t.unshare(v)
	return 1
}

// takeOver is memory for the gradient of a saved value: its own, unless others read it.
func (t *Tape) takeOver(saved *buffer) *buffer {
	if saved.refs > 1 {
		return t.buffer(saved.mem.Len())
	}
	saved.refs++
	return saved
}

// unshare gives v a gradient of its own, so that it can be written.
func (t *Tape) unshare(v *Value) {
	if v.grad.refs == 1 {
		return
	}
	own := t.buffer(v.Rows * v.Cols)
	if own == nil {
		return
	}
	reduce.Fill(t.dev, 0, own.mem)
	reduce.Add(t.dev, own.mem, v.grad.mem)
	t.release(v.grad)
	v.grad = own
}

// buffer is counted memory; refs 0 means that it is in Tape.free.
type buffer struct {
	mem  driver.F32
	refs int
}

// buffer hands out n floats of unspecified contents, held once; nil after an error.
func (t *Tape) buffer(n int) *buffer {
	if list := t.free[n]; len(list) > 0 {
		b := list[len(list)-1]
		t.free[n] = list[:len(list)-1]
		b.refs = 1
		return b
	}
	mem, err := t.arena.F32(n)
	if err != nil {
		t.fail(fmt.Errorf("memory of the micro-batch: %w", err))
		return nil
	}
	b := t.buffers.take()
	*b = buffer{mem: mem, refs: 1}
	return b
}

// release lets go of b once.
func (t *Tape) release(b *buffer) {
	if b == nil {
		return
	}
	if b.refs--; b.refs == 0 {
		t.free[b.mem.Len()] = append(t.free[b.mem.Len()], b)
	}
	if b.refs < 0 {
		panic("autograd: a buffer released more often than it was held")
	}
}

// slab hands out objects that are all taken back at once.
type slab[T any] struct {
	items []*T
	n     int
}

func (s *slab[T]) take() *T {
	if s.n == len(s.items) {
		s.items = append(s.items, new(T))
	}
	s.n++
	return s.items[s.n-1]
}
