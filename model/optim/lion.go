package optim

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/lion"
	"dataflex.dev/dataflex/model/tensor"
)

// Lion is bitsandbytes' Lion with a momentum in float32 (Chen et al. 2023).
type Lion struct {
	stepped
	beta1, beta2 float64
}

// NewLion starts at step 0 with a momentum of zero.
func NewLion(dev driver.Device, groups []Group, beta1, beta2 float64) (*Lion, error) {
	if err := checkBetas(beta1, beta2); err != nil {
		return nil, err
	}
	s, err := newStepped(dev, groups, func(s *slots, p *tensor.Param) error { return s.add(p, "m", p.Shape...) })
	return &Lion{s, beta1, beta2}, err
}

// Step implements Optimizer.
func (o *Lion) Step(lr float64, gradScale float32) {
	o.steps++
	for _, g := range o.groups {
		h := lion.Hyper{LR: lr * g.LRScale, Beta1: o.beta1, Beta2: o.beta2, WeightDecay: g.WeightDecay, GradScale: gradScale}
		for _, p := range g.Params {
			lion.Step(o.slots.dev, p.Data, p.Grad, o.slots.of(p)[0], h)
			p.Sync(o.slots.dev)
		}
	}
}
