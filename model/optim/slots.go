package optim

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// slots are an optimizer's state tensors, float32 on its device, in the order in which a
// checkpoint stores them.
type slots struct {
	dev  driver.Device
	list []slot
	at   map[*tensor.Param][]driver.F32
}

type slot struct {
	name   string // "m.<parameter>"
	shape  []int
	memory driver.Memory
}

func newSlots(dev driver.Device) slots {
	return slots{dev: dev, at: map[*tensor.Param][]driver.F32{}}
}

// add allocates a further tensor of zeros for p: kind begins its name.
func (s *slots) add(p *tensor.Param, kind string, shape ...int) error {
	n := 1
	for _, d := range shape {
		n *= d
	}
	m, err := s.dev.Alloc(4 * n)
	if err != nil {
		return fmt.Errorf("the optimizer's memory for %s %v: %w", p.Name, p.Shape, err)
	}
	s.list = append(s.list, slot{kind + "." + p.Name, shape, m})
	s.at[p] = append(s.at[p], driver.View[float32](m))
	return nil
}

// of are p's tensors, in the order of add.
func (s *slots) of(p *tensor.Param) []driver.F32 {
	at, ok := s.at[p]
	if !ok {
		panic("optim: parameter " + p.Name + " is not optimised")
	}
	return at
}

func (s *slots) tensors() ([]checkpoint.Tensor, error) {
	var out []checkpoint.Tensor
	for _, x := range s.list {
		host, err := driver.Read(s.dev, driver.View[float32](x.memory))
		if err != nil {
			return nil, fmt.Errorf("the optimizer's %s: %w", x.name, err)
		}
		out = append(out, checkpoint.Tensor{Name: x.name, Shape: x.shape, F32: host})
	}
	return out, nil
}

// load reads the tensors from w, which must have all of them with their shapes, and no others.
func (s *slots) load(w *checkpoint.Weights) error {
	for _, x := range s.list {
		err := driver.Write(s.dev, driver.View[float32](x.memory), func(dst []float32) error { return w.ReadFloat32(x.name, dst) })
		if err != nil {
			return fmt.Errorf("the optimizer's memory: %w", err)
		}
	}
	return ofThis(w, len(s.list))
}

// ofThis refuses a state of other tensors than this run's optimizer has, which are so many.
func ofThis(w *checkpoint.Weights, tensors int) error {
	if names := w.Names(); len(names) != tensors {
		return fmt.Errorf("%s has %d tensors and this run's optimizer %d: it belongs to a run with another optim, or one that trains other parameters", w.Path(names[0]), len(names), tensors)
	}
	return nil
}

func (s *slots) bytes() uint64 {
	var n uint64
	for _, x := range s.list {
		n += uint64(x.memory.Size())
	}
	return n
}

func (s *slots) free() {
	for _, x := range s.list {
		s.dev.Free(x.memory)
	}
	s.list, s.at = nil, nil
}

// check refuses invalid groups; a duplicate parameter is a programmer's error.
func check(groups []Group) error {
	names := map[string]bool{}
	for _, g := range groups {
		if !(g.WeightDecay >= 0) {
			return fmt.Errorf("weight_decay is %v, want at least 0", g.WeightDecay)
		}
		for _, p := range g.Params {
			if names[p.Name] {
				panic("optim: parameter " + p.Name + " is in two groups")
			}
			if !p.Trainable() {
				panic("optim: parameter " + p.Name + " has no gradient")
			}
			names[p.Name] = true
		}
	}
	return nil
}

// checkBetas refuses decay rates outside [0, 1).
func checkBetas(beta1, beta2 float64) error {
	for _, b := range []struct {
		name  string
		value float64
	}{{"adam_beta1", beta1}, {"adam_beta2", beta2}} {
		if !(b.value >= 0 && b.value < 1) {
			return fmt.Errorf("%s is %v, want 0 <= beta < 1", b.name, b.value)
		}
	}
	return nil
}

// stepped is shared by the optimizers: groups, their state, and the number of steps.
type stepped struct {
	groups []Group
	slots  slots
	steps  int
}

// newStepped starts at step 0; remember allocates the optimizer's state of a parameter.
func newStepped(dev driver.Device, groups []Group, remember func(s *slots, p *tensor.Param) error) (stepped, error) {
	if err := check(groups); err != nil {
		return stepped{}, err
	}
	s := stepped{groups: groups, slots: newSlots(dev)}
	for _, g := range groups {
		for _, p := range g.Params {
			if err := remember(&s.slots, p); err != nil {
				s.slots.free()
				return stepped{}, err
			}
		}
	}
	return s, nil
}

// Steps implements Optimizer.
func (s *stepped) Steps() int { return s.steps }

// Bytes implements Optimizer.
func (s *stepped) Bytes() uint64 { return s.slots.bytes() }

// Close implements Optimizer.
func (s *stepped) Close() { s.slots.free(); s.groups = nil }

// State implements Optimizer.
func (s *stepped) State() (steps int, tensors []checkpoint.Tensor, err error) {
	tensors, err = s.slots.tensors()
	return s.steps, tensors, err
}

// SetState implements Optimizer.
func (s *stepped) SetState(steps int, w *checkpoint.Weights) error {
	if steps < 0 {
		return fmt.Errorf("an optimizer after %d steps", steps)
	}
	if err := s.slots.load(w); err != nil {
		return err
	}
	s.steps = steps
	return nil
}
