// Package tensor holds what the layers of the model share: parameters.
package tensor

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
)

// Param is one tensor of the model: row-major on a device, in float32, in bf16 for the
// tensor cores, or both. Frozen matrices on a GPU are bf16 alone; a trained one keeps
// float32 weights, which the optimiser steps, and a bf16 copy that it keeps in step.
// A parameter trains when it has a gradient.
type Param struct {
	Name  string                    // as the checkpoint spells it
	Shape []int                     // row-major
	Data  driver.F32                // the weights; nil = they are in Half alone
	Half  driver.Slice[driver.BF16] // the weights as products read them; nil = they read Data
	Grad  driver.F32                // the accumulated gradient, as long as the weights; nil = frozen

	data, half, grad driver.Memory // what Data, Half and Grad view
}

// New allocates a frozen float32 parameter of zeros on dev.
func New(dev driver.Device, name string, shape ...int) (*Param, error) {
	p := &Param{Name: name, Shape: shape}
	if err := p.allocateData(dev); err != nil {
		return nil, err
	}
	return p, nil
}

// NewHalf allocates a frozen bf16 parameter of zeros on dev.
func NewHalf(dev driver.Device, name string, shape ...int) (*Param, error) {
	p := &Param{Name: name, Shape: shape}
	var err error
	if p.half, err = dev.Alloc(2 * p.Size()); err != nil {
		return nil, fmt.Errorf("%s %v in bf16: %w", name, shape, err)
	}
	p.Half = driver.View[driver.BF16](p.half)
	return p, nil
}

func (p *Param) allocateData(dev driver.Device) (err error) {
	if p.data, err = dev.Alloc(4 * p.Size()); err != nil {
		return fmt.Errorf("%s %v: %w", p.Name, p.Shape, err)
	}
	p.Data = driver.View[float32](p.data)
	return nil
}

// Size is the number of elements.
func (p *Param) Size() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Bytes is the memory of the weights, without the gradient's.
func (p *Param) Bytes() int { return p.data.Size() + p.half.Size() }

// String is the name.
func (p *Param) String() string { return p.Name }

// Trainable reports whether gradients are accumulated for p.
func (p *Param) Trainable() bool { return p != nil && !p.Grad.IsNil() }

// Train gives p a gradient of zeros, and float32 weights, if it has none.
func (p *Param) Train(dev driver.Device) error {
	if p.Trainable() {
		return nil
	}
	if p.Data.IsNil() {
		if err := p.allocateData(dev); err != nil {
			return err
		}
		cast.Widen(dev, p.Half, p.Data)
	}
	var err error
	if p.grad, err = dev.Alloc(4 * p.Size()); err != nil {
		return fmt.Errorf("gradient of %s %v: %w", p.Name, p.Shape, err)
	}
	p.Grad = driver.View[float32](p.grad)
	return nil
}

// Freeze takes p's gradient away, and its float32 weights where there are bf16 ones.
func (p *Param) Freeze(dev driver.Device) {
	if p.grad.Size() > 0 {
		dev.Free(p.grad)
	}
	p.grad, p.Grad = driver.Memory{}, driver.F32{}
	if !p.Half.IsNil() && !p.Data.IsNil() {
		dev.Free(p.data)
		p.data, p.Data = driver.Memory{}, driver.F32{}
	}
}

// Read returns the weights as float32; what it returns may be the weights themselves.
func (p *Param) Read(dev driver.Device) ([]float32, error) {
	if !p.Data.IsNil() {
		return driver.Read(dev, p.Data)
	}
	half, err := driver.Read(dev, p.Half)
	if err != nil {
		return nil, err
	}
	x := make([]float32, len(half))
	cast.WidenHost(half, x)
	return x, nil
}

// Write has fill overwrite the weights, rounding them to nearest even where they are
// bf16. fill gets all of them, zeros or not.
func (p *Param) Write(dev driver.Device, fill func([]float32) error) error {
	if p.Data.IsNil() {
		return driver.Write(dev, p.Half, func(half []driver.BF16) error {
			x := make([]float32, len(half))
			if err := fill(x); err != nil {
				return err
			}
			cast.NarrowHost(x, half)
			return nil
		})
	}
	if err := driver.Write(dev, p.Data, fill); err != nil {
		return err
	}
	p.Sync(dev)
	return nil
}

// Sync makes the bf16 copy, if there is one, agree with float32 weights that were
// written to directly.
func (p *Param) Sync(dev driver.Device) {
	if !p.Half.IsNil() && !p.Data.IsNil() {
		cast.Narrow(dev, p.Data, p.Half)
	}
}

// Upload overwrites the weights with x, as Write does.
func (p *Param) Upload(dev driver.Device, x []float32) error {
	return p.Write(dev, func(dst []float32) error { copy(dst, x); return nil })
}

// Grow makes room for rows in all in the first dimension: the old ones keep their
// contents, new ones are zeros. A gradient starts again from zeros.
func (p *Param) Grow(dev driver.Device, rows int) error {
	if rows < p.Shape[0] {
		panic("tensor: Grow to fewer rows")
	}
	old, err := p.Read(dev)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	grown := &Param{Name: p.Name, Shape: append([]int{rows}, p.Shape[1:]...)}
	if err := grown.allocateLike(dev, p); err != nil {
		grown.Free(dev)
		return err
	}
	if err := grown.Write(dev, func(dst []float32) error { clear(dst[copy(dst, old):]); return nil }); err != nil {
		grown.Free(dev)
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	p.Free(dev)
	*p = *grown
	return nil
}

// allocateLike gives p, which has only its name and shape, the kinds of memory that
// old has.
func (p *Param) allocateLike(dev driver.Device, old *Param) error {
	if !old.Half.IsNil() {
		half, err := NewHalf(dev, p.Name, p.Shape...)
		if err != nil {
			return err
		}
		*p = *half
	}
	if !old.Data.IsNil() {
		if err := p.allocateData(dev); err != nil {
			return err
		}
	}
	if old.Trainable() {
		return p.Train(dev)
	}
	return nil
}

// Free gives p's memory back to dev; p must not be used afterwards.
func (p *Param) Free(dev driver.Device) {
	p.Freeze(dev)
	for _, m := range []*driver.Memory{&p.data, &p.half} {
		if m.Size() > 0 {
			dev.Free(*m)
		}
		*m = driver.Memory{}
	}
	p.Data, p.Half = driver.F32{}, driver.Slice[driver.BF16]{}
}
