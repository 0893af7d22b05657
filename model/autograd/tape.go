// Package autograd records a forward pass over one or several micro-batches on a tape and
// differentiates it in reverse.
//
// Vocabulary:
//
//	value      a matrix [Rows, Cols] computed by an op, and its gradient
//	node       one recorded op: its operands, its outputs, and the buffers its VJP reads
//	VJP        vector-Jacobian product: computes the gradients of a node's operands and
//	           parameters from those of its outputs. One per op, in the table vjps
//	needsGrad  (torch: requires_grad) set for values that depend on a trainable parameter.
//	           Nodes whose output needs no gradient are not recorded
//	buffer     reference-counted memory from the arena. A value holds its buffer until Drop,
//	           a node holds the buffers its VJP reads until the VJP has run; memory without
//	           references is reused. So activations that no VJP reads are freed during the
//	           forward pass, and gradients reuse the memory of activations
//	recompute  the outputs of cheap ops (norms, activations, dispatch) that linear layers read
//	           are not kept but computed again in the backward pass, with the same bits
//	segment    a part of the pass of which only the input is kept; the backward pass records
//	           it again, with the same bits (activation checkpointing)
//	sink       receives the factors of per-sample LoRA gradients; Param.Grad is then unused
//
// Invariant: gradients of parameters are added to (+=); gradients of values are overwritten
// by the first contribution and added to by later ones.
//
// After an error (out of memory, or a sink's) ops do nothing and return nil; Err and Backward
// return the error. Ops launch one kernel after the other, and kernels run in parallel inside.
// A tape is not safe for concurrent use.
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

	data *buffer   // the matrix in float32; nil if it exists in bf16 only (see half.go)
	half *buffer   // the matrix in bf16; nil if it exists in float32 only
	sum  *addition // a residual sum that is computed when it is first read; nil otherwise

	grad      *buffer // float32; at most one of grad and halfGrad is set
	halfGrad  *buffer // bf16
	needsGrad bool
	node      int // 1 + the index of the node that computed the value; 0 = not recorded

	tape *Tape
}

// Data returns the matrix in float32, row-major. A value in bf16 is converted first.
func (v *Value) Data() driver.F32 {
	if b := v.tape.floats(v); b != nil {
		return b.mem
	}
	return driver.F32{}
}

// Mode says what a pass is for.
type Mode struct {
	Record   bool       // record nodes for Backward
	Dropout  bool       // apply the adapters' dropout
	Parts    []Part     // the micro-batches of the pass, in order; nil: one micro-batch, without noise and with seed 0
	Segments []int32    // cu_seqlens of the packed batch: where its samples begin, as Sink reads them
	Sink     FactorSink // nil: LoRA gradients are added to Param.Grad

	// BalanceWeight times the load-balancing loss (see Tape.Balance) is added to the loss that
	// is differentiated; 0 = not added.
	BalanceWeight float32
}

// Tape records and differentiates one pass at a time.
type Tape struct {
	BF16 bool // attention multiplies in bf16; linear layers do where their weights are bf16
	Half bool // values are kept in bf16 where ops have kernels for it

	Adapters []*Linear // adapters that a pass with Half converts to bf16 in one launch; others are converted where they are used

	dev   driver.Device
	arena *driver.Arena
	mode  Mode
	err   error

	nodes   []node
	values  slab[Value]
	buffers slab[buffer]
	free    map[int][]*buffer // released buffers, by length in floats
	ones    *buffer
	whole   [1]Part // memory for the result of parts

	adapters map[*LoRA]adapterHalves // A and B in bf16, converted once per pass; nil: not yet

	routings []*Routing
	balance  []float32 // set by Backward: BalanceWeight times the gradient of Balance's loss
}

// New returns an empty tape that computes on dev.
func New(dev driver.Device) *Tape {
	return &Tape{dev: dev, arena: driver.NewArena(dev), free: map[int][]*buffer{}}
}

// Begin discards the last pass and starts a new one.
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

// Err returns the first error since Begin.
func (t *Tape) Err() error { return t.err }

// Reserve allocates the memory for passes of up to that many bytes. It discards the last pass.
func (t *Tape) Reserve(bytes uint64) error {
	t.Begin(Mode{})
	return t.arena.Reserve(bytes)
}

// HighWater returns the largest number of bytes in use at once in any pass so far, or the
// number reserved if that is larger.
func (t *Tape) HighWater() uint64 { return t.arena.HighWater() }

// Close frees the tape's memory.
func (t *Tape) Close() { t.Begin(Mode{}); t.arena.Close() }

// Drop releases the values' memory: the forward pass does not read them again.
func (t *Tape) Drop(values ...*Value) {
	if t.err != nil {
		return
	}
	for _, v := range values {
		t.drop(v)
	}
}

// Backward runs the VJPs of all nodes in reverse order, starting from the gradients that
// CrossEntropy computed.
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

// backward runs the VJPs of the nodes with index from and above, in reverse order.
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

// vjp returns the VJP of n, after converting the gradients of its outputs to the type that it
// reads.
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
	if n.op != opLinear || t.readsFloats(n.linears) {
		t.widenGrad(n.out)
	}
	return vjps[n.op]
}

// cheap reports whether v can be recomputed in the backward pass.
func (t *Tape) cheap(v *Value) bool {
	return v.node > 0 && t.nodes[v.node-1].op.cheap()
}

// recomputed returns v's data in the backward pass, recomputed if it was not kept. A recomputed
// value is released when the VJP of its node has run.
func (t *Tape) recomputed(v *Value) driver.F32 {
	if v.data == nil && v.half == nil {
		t.recompute(v)
	}
	return v.Data()
}

// recompute recomputes the output of a cheap op, in float32 or bf16 as it was recorded.
func (t *Tape) recompute(v *Value) {
	n := &t.nodes[v.node-1]
	if n.half || n.narrowed {
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
	op   op
	half bool // the op ran in bf16 (see halfops.go)

	keepsHalf bool // of a linear: saved[0] is its input in bf16
	narrowed  bool // of a gate: from float32 to bf16

	in    [5]*Value
	out   *Value
	more  []*Value   // the outputs after out, of a group of linear layers
	saved [5]*buffer // what the VJP reads

	linears   linears
	weight    *tensor.Param // embedding, norm or convolution; attention: its sinks; delta rule: ALog
	norm      NormOptions
	ids       []int32 // embedding: token ids; rope: positions
	embedding Embedding
	scale     float32 // residual and scaled
	rope      *rope.Table
	heads     int // rope: heads; join: heads of a
	headDim   int
	attention attention.Params
	act       swiglu.Activation
	clamped   *swiglu.Clamped // replaces act if not nil
	pointwise swiglu.Pointwise
	bias      *tensor.Param // layer norm and convolution; delta rule: DtBias
	layer     LayerOptions  // layer norm
	width     int           // layer norm: elements per normalised row; columns: elements per piece
	from      int           // columns: the first one; convolution: the first channel of the weights
	conv      shortconv.Conv
	delta     deltanet.Params
	routing   *Routing
	segment   func(x *Value) *Value
	mark      func() error
}

// outs yields every output of the node.
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

// record appends a node for out, if the pass records and out needs a gradient; otherwise it
// returns nil.
func (t *Tape) record(o op, out *Value, in ...*Value) *node {
	if !t.mode.Record || !out.needsGrad {
		return nil
	}
	t.nodes = append(t.nodes, node{op: o, out: out})
	n := &t.nodes[len(t.nodes)-1]
	copy(n.in[:], in)
	out.node = len(t.nodes)
	return n
}

// Mark makes the backward pass call f once the VJPs of all nodes recorded after the mark have
// run. An error of f becomes the tape's.
func (t *Tape) Mark(f func() error) {
	if t.err == nil && t.mode.Record {
		t.nodes = append(t.nodes, node{op: opMark, mark: f})
	}
}

// Follows reports whether the pass adds to gradients of parameters, and not to a sink.
func (t *Tape) Follows() bool { return t.mode.Record && t.mode.Sink == nil }

// save keeps the buffers until the VJP of n has run.
func (n *node) save(buffers ...*buffer) {
	for i, b := range buffers {
		if b != nil {
			b.refs++
			n.saved[i] = b
		}
	}
}

// value returns a new output with memory of its own; nil after an error.
func (t *Tape) value(rows, cols int, needsGrad bool) *Value {
	v := t.alias(rows, cols, needsGrad, nil)
	if v.data = t.buffer(rows * cols); v.data == nil {
		return nil
	}
	return v
}

// alias returns a new output whose data is the buffer given to it.
func (t *Tape) alias(rows, cols int, needsGrad bool, data *buffer) *Value {
	v := t.values.take()
	*v = Value{Rows: rows, Cols: cols, needsGrad: needsGrad, data: data, tape: t}
	return v
}

// fail records err as the tape's error, unless it already has one.
func (t *Tape) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// addGrad adds the gradient in b to v's gradient. It takes ownership of the caller's reference
// to b.
func (t *Tape) addGrad(v *Value, b *buffer) {
	t.widenGrad(v)
	switch {
	case t.err != nil:
	case !v.needsGrad:
		t.release(b)
	case v.grad == nil:
		v.grad = b
	default:
		if t.ownGrad(v); t.err != nil {
			return
		}
		reduce.Add(t.dev, v.grad.mem, b.mem)
		t.release(b)
	}
}

// accumulator prepares v's gradient for a kernel that can add to it, and returns the kernel's
// beta: 0 for the first contribution (overwrite), 1 for later ones (add).
func (t *Tape) accumulator(v *Value) (beta float32) {
	t.widenGrad(v)
	if v.grad == nil {
		v.grad = t.buffer(v.Rows * v.Cols)
		return 0
	}
	t.ownGrad(v)
	return 1
}

// reuseSaved returns memory for the gradient of a saved value: the saved buffer itself, unless
// something else still reads it.
func (t *Tape) reuseSaved(saved *buffer) *buffer {
	if saved.refs > 1 {
		return t.buffer(saved.mem.Len())
	}
	saved.refs++
	return saved
}

// ownGrad copies v's gradient if other values share its buffer, so that it can be written.
func (t *Tape) ownGrad(v *Value) {
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

// buffer is reference-counted memory; with refs = 0 it is in Tape.free.
type buffer struct {
	mem  driver.F32
	refs int
}

// buffer returns n floats of unspecified contents with one reference; nil after an error.
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

// release drops one reference to b.
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

// slab allocates objects that are all freed together, when n is set to 0.
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
