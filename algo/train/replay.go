package train

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"

	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/driver"
)

// replay computes the gradient of a step twice when replay_every says so: the same inputs
// give the same bits, so a difference is a silent hardware error: a processor, a GPU or a
// memory that computes wrongly. It is found before the weights change.
type replay struct {
	every      int // steps; 0 = never
	at         *position
	passes     *passes
	curriculum curriculum.Curriculum
}

// gradient is the gradient of the coming step, which make computes.
func (r replay) gradient(ctx context.Context, make func(context.Context) (*gradient, error)) (*gradient, error) {
	if r.every == 0 || (r.at.step+1)%r.every != 0 {
		return make(ctx)
	}
	before, err := r.curriculum.State()
	if err != nil {
		return nil, err
	}
	g, err := make(ctx)
	if err != nil || g.nothing != "" {
		return g, err
	}
	first, err := r.fingerprint(g)
	if err != nil {
		return nil, err
	}
	if err := r.curriculum.Restore(before); err != nil {
		return nil, err
	}
	if g, err = make(ctx); err != nil {
		return nil, err
	}
	second, err := r.fingerprint(g)
	if err != nil {
		return nil, err
	}
	if what := first.differs(second); what != "" {
		return nil, spoilt{fmt.Errorf("step %d, computed twice, differs in %s: this machine computes wrongly (memory, processor or GPU); train on another one; %s", r.at.step+1, what, r.at.lastCheckpoint())}
	}
	return g, nil
}

// fingerprint is the bits of a gradient, its losses and the method's state after it, in a
// form that can be compared.
type fingerprint struct {
	losses  []uint64 // of the step, the norm of its gradient, shares and tokens of its micro-batches
	tensors []uint64
	names   []string
	method  []byte
}

var replaySeed = maphash.MakeSeed()

func (r replay) fingerprint(g *gradient) (f fingerprint, err error) {
	f.losses = append(f.losses, math.Float64bits(g.loss), math.Float64bits(g.norm))
	for i, tokens := range g.step.TokenLoss {
		f.losses = append(f.losses, math.Float64bits(g.step.Returned[i]), bitsOf(tokens))
	}
	for _, p := range r.passes.lanes.summed() {
		values, err := driver.Read(r.passes.device, p.Grad)
		if err != nil {
			return f, fmt.Errorf("step %d: the gradient of %s: %w", r.at.step+1, p.Name, err)
		}
		f.tensors, f.names = append(f.tensors, bitsOf(values)), append(f.names, p.Name)
	}
	f.method, err = r.curriculum.State()
	return f, err
}

func bitsOf(values []float32) uint64 {
	var h maphash.Hash
	h.SetSeed(replaySeed)
	var buf [4]byte
	for _, v := range values {
		bits := math.Float32bits(v)
		buf = [4]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)}
		_, _ = h.Write(buf[:]) // never fails
	}
	return h.Sum64()
}

// differs names the first difference, "" if there is none.
func (f fingerprint) differs(g fingerprint) string {
	if len(f.losses) != len(g.losses) {
		return "the set of rows with a finite loss"
	}
	for i := range f.tensors {
		if f.tensors[i] != g.tensors[i] {
			return "the gradient of " + f.names[i]
		}
	}
	for i, what := range []string{"the loss", "the length of the gradient"} {
		if f.losses[i] != g.losses[i] {
			return what
		}
	}
	for i := 2; i < len(f.losses); i++ {
		if f.losses[i] != g.losses[i] {
			return fmt.Sprintf("the loss of micro-batch %d", (i-2)/2)
		}
	}
	if string(f.method) != string(g.method) {
		return "the state of the method"
	}
	return ""
}
