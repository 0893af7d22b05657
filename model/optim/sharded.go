package optim

import (
	"fmt"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Shares says which parts of the parameters this process steps, whose state it alone keeps.
type Shares interface {
	// Parts are this process's of a parameter, from the first element to the last.
	Parts(whole *tensor.Param) []Part
	// Gather overwrites to, as long as the parameter, with what all processes keep of it; own
	// is what this one keeps, in the order of its parts. All processes call it.
	Gather(whole *tensor.Param, own []driver.F32, to driver.F32) error
	// Writes says that this process writes checkpoints, and wants to have what goes into them.
	Writes() bool
}

// Part is the elements of a parameter from one on: View has their memory, gradient and all.
type Part struct {
	From int
	View *tensor.Param
}

// sharded is an optimizer whose state several processes keep together. It steps the parts of
// this process; whoever steps it gives the others their weights. To a checkpoint it has the
// state that one process would have.
type sharded struct {
	Optimizer // of the parts
	inner     *stepped
	shares    Shares
	params    []*tensor.Param // whole, in the order of a checkpoint
	kinds     []string        // of state tensors, of every parameter
}

// shardedAdam is one that has Adam's moments.
type shardedAdam struct {
	sharded
	adam *AdamW
}

var _ Adaptive = (*shardedAdam)(nil)

func newSharded(m method, dev driver.Device, groups []Group, s Settings) (Optimizer, error) {
	out := sharded{shares: s.Shares}
	var parts []Group
	for _, g := range groups {
		own := Group{LRScale: g.LRScale, WeightDecay: g.WeightDecay}
		for _, p := range g.Params {
			out.params = append(out.params, p)
			for _, part := range s.Shares.Parts(p) {
				own.Params = append(own.Params, part.View)
			}
		}
		parts = append(parts, own)
	}
	if err := check(groups); err != nil {
		return nil, err
	}
	var err error
	if out.Optimizer, err = m.make(dev, parts, s); err != nil {
		return nil, err
	}
	switch o := out.Optimizer.(type) {
	case *AdamW:
		out.inner, out.kinds = &o.stepped, []string{"m", "v"}
		return &shardedAdam{out, o}, nil
	case *Lion:
		out.inner, out.kinds = &o.stepped, []string{"m"}
	case *SGD:
		out.inner = &o.stepped
	}
	return &out, nil
}

// own is what this process keeps of one kind of a parameter's state.
func (o *sharded) own(p *tensor.Param, kind int) (values []driver.F32) {
	for _, part := range o.shares.Parts(p) {
		values = append(values, o.inner.slots.of(part.View)[kind])
	}
	return values
}

// gathered calls f with all of one kind of a parameter's state.
func (o *sharded) gathered(p *tensor.Param, kind int, f func(driver.F32) error) error {
	dev := o.inner.slots.dev
	m, err := dev.Alloc(4 * p.Size())
	if err != nil {
		return fmt.Errorf("the optimizer's memory for %s, of all processes: %w", p.Name, err)
	}
	defer dev.Free(m)
	whole := driver.View[float32](m)
	if err := o.shares.Gather(p, o.own(p, kind), whole); err != nil {
		return fmt.Errorf("the optimizer's memory for %s, of all processes: %w", p.Name, err)
	}
	return f(whole)
}

// State implements Optimizer.
func (o *sharded) State() (steps int, tensors []checkpoint.Tensor, err error) {
	for _, p := range o.params {
		for k, kind := range o.kinds {
			if err := o.gathered(p, k, func(whole driver.F32) error {
				if !o.shares.Writes() {
					return nil
				}
				host, err := driver.Read(o.inner.slots.dev, whole)
				tensors = append(tensors, checkpoint.Tensor{Name: kind + "." + p.Name, Shape: p.Shape, F32: slices.Clone(host)})
				return err
			}); err != nil {
				return 0, nil, err
			}
		}
	}
	return o.Steps(), tensors, nil
}

// SetState implements Optimizer.
func (o *sharded) SetState(steps int, w *checkpoint.Weights) error {
	if steps < 0 {
		return fmt.Errorf("an optimizer after %d steps", steps)
	}
	for _, p := range o.params {
		for _, part := range o.shares.Parts(p) {
			for k, kind := range o.kinds {
				err := driver.Write(o.inner.slots.dev, o.inner.slots.of(part.View)[k], func(dst []float32) error {
					return w.ReadPart(kind+"."+p.Name, p.Size(), part.From, dst)
				})
				if err != nil {
					return fmt.Errorf("the optimizer's memory: %w", err)
				}
			}
		}
	}
	if err := ofThis(w, len(o.params)*len(o.kinds)); err != nil {
		return err
	}
	o.inner.steps = steps
	return nil
}

// Moments implements Adaptive.
func (o *shardedAdam) Moments(p *tensor.Param, f func(m, v driver.F32) error) error {
	return o.gathered(p, 0, func(m driver.F32) error {
		return o.gathered(p, 1, func(v driver.F32) error { return f(m, v) })
	})
}

// Betas implements Adaptive.
func (o *shardedAdam) Betas() (beta1, beta2, eps float64) { return o.adam.Betas() }
