// Package tensor holds what the layers of the model share: parameters, whose numbers are
// kept in one of several forms that multiply by themselves.
package tensor

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
)

// Param is one tensor of the model: row-major on a device, in the form that its products
// read (see weight). One that trains has a gradient, and float32 weights which the
// optimizer steps: where products read another form that is kept in step.
type Param struct {
	Name  string     // as the checkpoint spells it
	Shape []int      // row-major
	Data  driver.F32 // the weights in float32; nil = they are in another form alone
	Grad  driver.F32 // the accumulated gradient, as long as the weights; nil = frozen

	weight weight // what products read; nil = a name and a shape alone
	steps  driver.Memory
	grad   driver.Memory // what Grad views; steps is what Data views beside a weight of another form
}

// New allocates a frozen float32 parameter of zeros on dev.
func New(dev driver.Device, name string, shape ...int) (*Param, error) {
	return newParam(dev, name, shape, newFloat32s)
}

// NewBF16 allocates a frozen bf16 parameter of zeros on dev.
func NewBF16(dev driver.Device, name string, shape ...int) (*Param, error) {
	return newParam(dev, name, shape, newBF16s)
}

func newParam(dev driver.Device, name string, shape []int, form func(driver.Device, []int) (weight, error)) (*Param, error) {
	w, err := form(dev, shape)
	if err != nil {
		return nil, fmt.Errorf("%s %v: %w", name, shape, err)
	}
	return &Param{Name: name, Shape: shape, Data: w.float32(), weight: w}, nil
}

// NewLike allocates a frozen parameter of zeros in p's form.
func (p *Param) NewLike(dev driver.Device, name string, shape ...int) (*Param, error) {
	return newParam(dev, name, shape, p.weight.like)
}

// Size is the number of elements.
func (p *Param) Size() int { return size(p.Shape) }

func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Bytes is the memory of the weights, without the gradient's.
func (p *Param) Bytes() int {
	if p.weight == nil {
		return 0
	}
	return p.weight.bytes() + p.steps.Size()
}

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
		if err := p.weight.writable(); err != nil {
			return fmt.Errorf("training %s: %w", p.Name, err)
		}
		var err error
		if p.steps, err = dev.Alloc(4 * p.Size()); err != nil {
			return fmt.Errorf("%s %v: %w", p.Name, p.Shape, err)
		}
		p.Data = driver.View[float32](p.steps)
		p.weight.widen(dev, p.Data)
	}
	p.unpack(dev)
	var err error
	if p.grad, err = dev.Alloc(4 * p.Size()); err != nil {
		return fmt.Errorf("gradient of %s %v: %w", p.Name, p.Shape, err)
	}
	p.Grad = driver.View[float32](p.grad)
	return nil
}

// Freeze takes p's gradient away, and its float32 weights where products read others.
func (p *Param) Freeze(dev driver.Device) {
	release(dev, &p.grad)
	p.Grad = driver.F32{}
	if p.steps.Size() > 0 {
		release(dev, &p.steps)
		p.Data = driver.F32{}
	}
}

func release(dev driver.Device, m *driver.Memory) {
	if m.Size() > 0 {
		dev.Free(*m)
	}
	*m = driver.Memory{}
}

// Read returns the weights as float32; what it returns may be the weights themselves.
func (p *Param) Read(dev driver.Device) ([]float32, error) {
	if !p.Data.IsNil() {
		return driver.Read(dev, p.Data)
	}
	return p.weight.read(dev)
}

// Write has fill overwrite the weights, rounding them to nearest even where they are
// bf16. fill gets all of them, zeros or not. Weights in codes are an error.
func (p *Param) Write(dev driver.Device, fill func([]float32) error) error {
	if !p.Data.IsNil() {
		if err := driver.Write(dev, p.Data, fill); err != nil {
			return err
		}
		p.Sync(dev)
		return nil
	}
	if err := p.weight.writable(); err != nil {
		return fmt.Errorf("writing %s: %w", p.Name, err)
	}
	return p.weight.load(dev, filled{fill}, &Buffer{})
}

// Load overwrites the weights with src's, taken over as they lie there where p keeps that
// form, converted from float32 in b otherwise.
func (p *Param) Load(dev driver.Device, src Source, b *Buffer) error {
	if !p.Data.IsNil() {
		return p.Write(dev, src.Float32)
	}
	return p.weight.load(dev, src, b)
}

// Sync makes the form that products read agree with float32 weights that were written to
// directly.
func (p *Param) Sync(dev driver.Device) {
	if p.steps.Size() > 0 {
		p.weight.narrow(dev, p.Data)
	}
	p.unpack(dev)
}

// Upload overwrites the weights with x, as Write does.
func (p *Param) Upload(dev driver.Device, x []float32) error {
	return p.Write(dev, func(dst []float32) error { copy(dst, x); return nil })
}

// Widened calls f with the weights in float32, which f only reads.
func (p *Param) Widened(dev driver.Device, f func(w driver.F32)) error {
	if !p.Data.IsNil() {
		f(p.Data)
		return nil
	}
	m, err := dev.Alloc(4 * p.Size())
	if err != nil {
		return err
	}
	defer dev.Free(m)
	w := driver.View[float32](m)
	p.weight.widen(dev, w)
	f(w)
	return nil
}

// Update calls f with the weights in float32, which f changes. Weights in codes are an
// error.
func (p *Param) Update(dev driver.Device, f func(w driver.F32)) error {
	if err := p.weight.writable(); err != nil {
		return fmt.Errorf("changing %s: %w", p.Name, err)
	}
	err := p.Widened(dev, func(w driver.F32) {
		if f(w); p.Data.IsNil() {
			p.weight.narrow(dev, w)
		}
	})
	p.Sync(dev)
	return err
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
	grown, err := p.NewLike(dev, p.Name, append([]int{rows}, p.Shape[1:]...)...)
	if err != nil {
		return err
	}
	if p.Trainable() {
		err = grown.Train(dev)
	}
	if err == nil {
		err = grown.Write(dev, func(dst []float32) error { clear(dst[copy(dst, old):]); return nil })
	}
	if err != nil {
		grown.Free(dev)
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	p.Free(dev)
	*p = *grown
	return nil
}

// View makes p the elements of whole from that one on, gradient and all, until whole's
// memory changes.
func (p *Param) View(whole *Param, from int) {
	to := from + p.Size()
	cut := func(x driver.F32) driver.F32 {
		if x.IsNil() {
			return x
		}
		return x.Sub(from, to)
	}
	p.Data, p.Grad, p.weight = cut(whole.Data), cut(whole.Grad), nil
	if whole.weight != nil {
		p.weight = whole.weight.sub(from, p.Shape)
	}
}

// Free gives p's memory back to dev; p must not be used afterwards.
func (p *Param) Free(dev driver.Device) {
	p.Freeze(dev)
	if p.weight != nil {
		p.weight.free(dev)
	}
	p.Data, p.weight = driver.F32{}, nil
}
