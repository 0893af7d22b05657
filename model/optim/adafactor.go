package optim

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/adafactor"
	"dataflex.dev/dataflex/model/tensor"
)

// Adafactor is transformers' Adafactor as its Trainer constructs it: the learning rate is the
// run's own (scale_parameter and relative_step are off), there is no first moment, and the
// constants are the paper's: ε₁ 1e-30, decay −0.8, updates clipped to a root mean square of 1.
// A matrix has running means of its rows and columns, a vector its full second moment (Shazeer
// and Stern 2018).
type Adafactor struct{ stepped }

// NewAdafactor starts at step 0.
func NewAdafactor(dev driver.Device, groups []Group) (*Adafactor, error) {
	s, err := newStepped(dev, groups, func(s *slots, p *tensor.Param) error {
		if len(p.Shape) < 2 {
			return s.add(p, "v", p.Shape...)
		}
		if err := s.add(p, "r", p.Size()/p.Shape[len(p.Shape)-1]); err != nil {
			return err
		}
		return s.add(p, "c", p.Shape[len(p.Shape)-1])
	})
	return &Adafactor{s}, err
}

// Step implements Optimizer.
func (o *Adafactor) Step(lr float64, gradScale float32) {
	o.steps++
	dev := o.slots.dev
	for _, g := range o.groups {
		h := adafactor.Hyper{
			LR: lr * g.LRScale, Beta2: 1 - math.Pow(float64(o.steps), -0.8), Eps: 1e-30,
			WeightDecay: g.WeightDecay, GradScale: gradScale,
		}
		for _, p := range g.Params {
			if s := o.slots.of(p); len(s) == 1 {
				adafactor.Vector(dev, p.Data, p.Grad, s[0], h)
			} else {
				adafactor.Matrix(dev, p.Data, p.Grad, s[0], s[1], h)
			}
			p.Sync(dev)
		}
	}
}
