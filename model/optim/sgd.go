package optim

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/tensor"
)

// SGD is torch.optim.SGD without momentum, as transformers' Trainer constructs it: p −= lr·(g +
// decay·p). It has no state.
type SGD struct{ stepped }

// NewSGD starts at step 0.
func NewSGD(dev driver.Device, groups []Group) (*SGD, error) {
	s, err := newStepped(dev, groups, func(*slots, *tensor.Param) error { return nil })
	return &SGD{s}, err
}

// Step implements Optimizer.
func (o *SGD) Step(lr float64, gradScale float32) {
	o.steps++
	dev := o.slots.dev
	for _, g := range o.groups {
		rate := lr * g.LRScale
		for _, p := range g.Params {
			if g.WeightDecay != 0 {
				reduce.Scale(dev, float32(1-rate*g.WeightDecay), p.Data)
			}
			reduce.Axpy(dev, float32(-rate*float64(gradScale)), p.Grad, p.Data)
			p.Sync(dev)
		}
	}
}
