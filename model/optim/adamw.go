// Package optim is the optimizers over groups of parameters, the gradient's norm and
// clipping, and every learning-rate schedule of transformers.
package optim

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/adamw"
	"dataflex.dev/dataflex/model/tensor"
)

// AdamW is Adam with decoupled weight decay (Loshchilov and Hutter, 2019), step for step as
// torch.optim.AdamW. Its moments are float32 on the device.
type AdamW struct {
	stepped
	beta1, beta2, eps float64
}

var _ Adaptive = (*AdamW)(nil)

// NewAdamW starts at step 0 with moments of zero. The error names the parameter for which the
// device had no memory, or the number that is out of range.
func NewAdamW(dev driver.Device, groups []Group, beta1, beta2, eps float64) (*AdamW, error) {
	if err := checkBetas(beta1, beta2); err != nil {
		return nil, err
	}
	if !(eps >= 0) {
		return nil, fmt.Errorf("adam_epsilon is %v, want at least 0", eps)
	}
	s, err := newStepped(dev, groups, twoMoments)
	return &AdamW{s, beta1, beta2, eps}, err
}

// twoMoments allocates the running means of the gradient and of its square.
func twoMoments(s *slots, p *tensor.Param) error {
	if err := s.add(p, "m", p.Shape...); err != nil {
		return err
	}
	return s.add(p, "v", p.Shape...)
}

// Step implements Optimizer.
func (o *AdamW) Step(lr float64, gradScale float32) {
	o.steps++
	for _, g := range o.groups {
		list := make([]adamw.Param, len(g.Params))
		for i, p := range g.Params {
			list[i] = o.param(p)
		}
		adamw.Step(o.slots.dev, adamw.Hyper{
			LR: lr * g.LRScale, Beta1: o.beta1, Beta2: o.beta2, Eps: o.eps,
			WeightDecay: g.WeightDecay, Step: o.steps, GradScale: gradScale,
		}, list...)
	}
}

// param is p with its moments.
func (s *stepped) param(p *tensor.Param) adamw.Param {
	mo := s.slots.of(p)
	x := adamw.Param{P: p.Data, G: p.Grad, M: mo[0], V: mo[1]}
	if p.Narrows() {
		x.Half = p.BF16()
	}
	return x
}

// Moments implements Adaptive.
func (o *AdamW) Moments(p *tensor.Param, f func(m, v driver.F32) error) error {
	mo := o.slots.of(p)
	return f(mo[0], mo[1])
}

// Betas implements Adaptive.
func (o *AdamW) Betas() (beta1, beta2, eps float64) { return o.beta1, o.beta2, o.eps }
