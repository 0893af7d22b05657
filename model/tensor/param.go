// Package tensor implements the parameters of a model. Their numbers are kept in one of
// several forms, each with its own products.
package tensor

import (
	"fmt"
	"slices"

	"dataflex.dev/dataflex/driver"
)

// Param is one tensor of the model: row-major on a device, in the form that its products
// read (see weight). A trained one has a gradient, and float32 weights which the optimizer
// updates: if products read another form, it is kept in sync.
type Param struct {
	Name  string     // as in the checkpoint
	Shape []int      // row-major
	Data  driver.F32 // the weights in float32; nil = they are only kept in another form
	Grad  driver.F32 // the accumulated gradient, of the weights' length; nil = frozen, or not placed yet

	trains bool
	store  WeightStore // nil: p always has its numbers
	weight weight      // read by products; nil = there are only name and shape
	steps  driver.Memory
	grad   driver.Memory // the memory of Grad; steps is that of Data if the weight has another form
}

// New allocates a frozen float32 parameter of zeros on dev. With dev nil it has no memory until
// Attach gives it some, like those of the other forms.
func New(dev driver.Device, name string, shape ...int) (*Param, error) {
	return newParam(dev, name, shape, newFloat32s)
}

// NewBF16 allocates a frozen bf16 parameter of zeros on dev.
func NewBF16(dev driver.Device, name string, shape ...int) (*Param, error) {
	return newParam(dev, name, shape, newBF16s)
}

// NewNarrowed allocates a parameter of zeros in float32, with a copy in bf16 for products, which
// every update writes too.
func NewNarrowed(dev driver.Device, name string, shape ...int) (*Param, error) {
	p, err := NewBF16(dev, name, shape...)
	if err != nil {
		return nil, err
	}
	if err := p.allocSteps(dev); err != nil {
		p.Free(dev)
		return nil, err
	}
	return p, nil
}

func newParam(dev driver.Device, name string, shape []int, form func(driver.Device, []int) (weight, error)) (*Param, error) {
	w, err := form(dev, shape)
	if err != nil {
		return nil, fmt.Errorf("%s %v: %w", name, shape, err)
	}
	return &Param{Name: name, Shape: shape, Data: w.float32(), weight: w}, nil
}

func alloc(dev driver.Device, n int) (driver.Memory, error) {
	if dev == nil {
		return driver.Memory{}, nil
	}
	return dev.Alloc(n)
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

// Bytes is the size of the weights, without the gradient.
func (p *Param) Bytes() int {
	if p.weight == nil {
		return 0
	}
	return p.weight.bytes() + p.steps.Size()
}

// String is the name.
func (p *Param) String() string { return p.Name }

// Trainable reports whether gradients are accumulated for p.
func (p *Param) Trainable() bool { return p != nil && p.trains }

// Train makes p trainable: it allocates a gradient of zeros, and float32 weights, if p has
// none.
func (p *Param) Train(dev driver.Device) error {
	if err := p.TrainPlaced(dev); err != nil || !p.Grad.IsNil() {
		return err
	}
	var err error
	if p.grad, err = dev.Alloc(4 * p.Size()); err != nil {
		return fmt.Errorf("gradient of %s %v: %w", p.Name, p.Shape, err)
	}
	p.Grad = driver.View[float32](p.grad)
	return nil
}

// TrainPlaced is Train without memory for the gradient, which Place provides.
func (p *Param) TrainPlaced(dev driver.Device) error {
	if p.trains {
		return nil
	}
	if p.Data.IsNil() {
		if err := p.weight.writable(); err != nil {
			return fmt.Errorf("training %s: %w", p.Name, err)
		}
	}
	if p.Data.IsNil() && p.store == nil {
		if err := p.allocSteps(dev); err != nil {
			return err
		}
		p.weight.widen(dev, p.Data)
	}
	p.unpack(dev)
	p.trains = true
	return nil
}

// allocSteps allocates float32 weights beside another form.
func (p *Param) allocSteps(dev driver.Device) (err error) {
	if p.steps, err = dev.Alloc(4 * p.Size()); err != nil {
		return fmt.Errorf("%s %v: %w", p.Name, p.Shape, err)
	}
	p.Data = driver.View[float32](p.steps)
	return nil
}

// Place makes grad, memory of somebody else, the gradient of a trainable p, with the numbers
// that are in it.
func (p *Param) Place(grad driver.F32) { p.Grad = grad }

// GradientBytes is the size of p's own gradient; 0 if it is frozen, or placed.
func (p *Param) GradientBytes() int { return p.grad.Size() }

// Freeze frees p's gradient, and its float32 weights if products read another form.
func (p *Param) Freeze(dev driver.Device) {
	release(dev, &p.grad)
	p.Grad, p.trains = driver.F32{}, false
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

// Read returns the weights as float32; the result may be the weights themselves.
func (p *Param) Read(dev driver.Device) (x []float32, err error) {
	if err := p.fetch(); err != nil {
		return nil, err
	}
	if p.Data.IsNil() {
		return p.weight.read(dev)
	}
	if x, err = driver.Read(dev, p.Data); p.store != nil {
		x = slices.Clone(x) // other numbers take the memory
	}
	return x, err
}

// Write lets fill overwrite the weights, rounding them to nearest even if they are bf16.
// fill gets all of them, zeros or not. For weights in codes it is an error.
func (p *Param) Write(dev driver.Device, fill func([]float32) error) error {
	if !p.Data.IsNil() {
		if err := driver.Write(dev, p.Data, fill); err != nil {
			return err
		}
		p.Sync(dev)
		return p.keep()
	}
	if err := p.weight.writable(); err != nil {
		return fmt.Errorf("writing %s: %w", p.Name, err)
	}
	if err := p.weight.load(dev, filled{fill}, &Buffer{}); err != nil {
		return err
	}
	return p.keep()
}

// Load overwrites the weights with src's, copied unchanged if p has the same form, otherwise
// converted from float32 in b.
func (p *Param) Load(dev driver.Device, src Source, b *Buffer) error {
	if !p.Data.IsNil() {
		return p.Write(dev, src.Float32)
	}
	if err := p.weight.load(dev, src, b); err != nil {
		return err
	}
	return p.keep()
}

// Sync updates the form that products read after float32 weights were written to directly.
func (p *Param) Sync(dev driver.Device) {
	if p.twice() {
		p.weight.narrow(dev, p.Data)
	}
	p.unpack(dev)
}

// twice reports whether products read another form than the float32 weights.
func (p *Param) twice() bool { return p.weight != nil && !p.Data.IsNil() && p.weight.float32().IsNil() }

// Upload overwrites the weights with x, as Write does.
func (p *Param) Upload(dev driver.Device, x []float32) error {
	return p.Write(dev, func(dst []float32) error { copy(dst, x); return nil })
}

// Widened calls f with the weights in float32, which f only reads.
func (p *Param) Widened(dev driver.Device, f func(w driver.F32)) error {
	if err := p.fetch(); err != nil {
		return err
	}
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

// Update calls f with the weights in float32, which f changes. For weights in codes it is an
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
	if err != nil {
		return err
	}
	return p.keep()
}

// Grow enlarges the first dimension to rows: existing rows keep their contents, new ones are
// zeros. A gradient restarts from zeros.
func (p *Param) Grow(dev driver.Device, rows int) error {
	if rows < p.Shape[0] {
		panic("tensor: Grow to fewer rows")
	}
	if p.store != nil {
		return fmt.Errorf("%s is sharded and cannot grow: shard the optimizer's state and the gradients alone, stage 2", p.Name)
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

// View makes p a view of the elements of whole from that one on, gradient included, until
// whole's memory changes.
func (p *Param) View(whole *Param, from int) {
	to := from + p.Size()
	cut := func(x driver.F32) driver.F32 {
		if x.IsNil() {
			return x
		}
		return x.Sub(from, to)
	}
	p.Data, p.Grad, p.weight, p.trains, p.store = cut(whole.Data), cut(whole.Grad), nil, whole.trains, whole.store
	if whole.weight != nil && whole.hasMemory() {
		p.weight = whole.weight.sub(from, p.Shape)
	}
}

// Free frees p's memory on dev; p must not be used afterwards.
func (p *Param) Free(dev driver.Device) {
	p.Freeze(dev)
	if p.weight != nil {
		p.weight.free(dev)
	}
	p.Data, p.weight = driver.F32{}, nil
}
