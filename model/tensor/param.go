// Package tensor holds what the layers of the model share: parameters.
package tensor

import (
	"fmt"

	"dataflex/driver"
)

// Param is one tensor of the model: row-major float32 on a device. It trains
// when it has a gradient.
type Param struct {
	Name  string     // as the checkpoint spells it
	Shape []int      // row-major
	Data  driver.F32 // the weights
	Grad  driver.F32 // the accumulated gradient, the length of Data; nil = frozen

	data, grad driver.Memory // what Data and Grad view
}

// New allocates a frozen parameter of zeros on dev.
func New(dev driver.Device, name string, shape ...int) (*Param, error) {
	p := &Param{Name: name, Shape: shape}
	var err error
	if p.data, err = dev.Alloc(4 * p.Size()); err != nil {
		return nil, fmt.Errorf("%s %v: %w", name, shape, err)
	}
	p.Data = driver.View[float32](p.data)
	return p, nil
}

// Size is the number of elements.
func (p *Param) Size() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// String is the name.
func (p *Param) String() string { return p.Name }

// Trainable reports whether gradients are accumulated for p.
func (p *Param) Trainable() bool { return p != nil && !p.Grad.IsNil() }

// Train gives p a gradient of zeros, if it has none.
func (p *Param) Train(dev driver.Device) error {
	if p.Trainable() {
		return nil
	}
	var err error
	if p.grad, err = dev.Alloc(4 * p.Size()); err != nil {
		return fmt.Errorf("gradient of %s %v: %w", p.Name, p.Shape, err)
	}
	p.Grad = driver.View[float32](p.grad)
	return nil
}

// Freeze takes p's gradient away.
func (p *Param) Freeze(dev driver.Device) {
	if p.grad.Size() > 0 {
		dev.Free(p.grad)
	}
	p.grad, p.Grad = driver.Memory{}, driver.F32{}
}

// Grow makes room for rows in all in the first dimension: the old ones keep their
// contents, new ones are zeros. A gradient starts again from zeros.
func (p *Param) Grow(dev driver.Device, rows int) error {
	if rows < p.Shape[0] {
		panic("tensor: Grow to fewer rows")
	}
	grown, err := New(dev, p.Name, append([]int{rows}, p.Shape[1:]...)...)
	if err != nil {
		return err
	}
	old, err := driver.Read(dev, p.Data)
	if err == nil {
		err = driver.Upload(dev, grown.Data.Sub(0, p.Size()), old)
	}
	if err != nil {
		grown.Free(dev)
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	if p.Trainable() {
		if err := grown.Train(dev); err != nil {
			grown.Free(dev)
			return err
		}
	}
	p.Free(dev)
	*p = *grown
	return nil
}

// Free gives p's memory back to dev; p must not be used afterwards.
func (p *Param) Free(dev driver.Device) {
	p.Freeze(dev)
	dev.Free(p.data)
	p.data, p.Data = driver.Memory{}, driver.F32{}
}
