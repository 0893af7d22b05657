// Package optim is AdamW over groups of parameters, the gradient's norm and
// clipping, and every learning-rate schedule of transformers.
package optim

import (
	"fmt"
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/adamw"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Group is parameters with the same learning rate and decay.
type Group struct {
	Params      []*tensor.Param
	LRScale     float64 // multiplies the learning rate of Step
	WeightDecay float64
}

// AdamW is the decoupled Adam of Loshchilov and Hutter (2019), step for step
// what torch.optim.AdamW does. Its moments are float32 on the device.
type AdamW struct {
	dev               driver.Device
	groups            []Group
	moments           map[*tensor.Param]moments
	beta1, beta2, eps float64
	steps             int
}

// moments of one parameter, each as long as the parameter.
type moments struct {
	mMem, vMem driver.Memory
	m, v       driver.F32
}

// NewAdamW starts at step 0 with moments of zero. The error says which parameter
// the device had no memory for, or which one cannot be trained.
func NewAdamW(dev driver.Device, groups []Group, beta1, beta2, eps float64) (*AdamW, error) {
	for _, b := range []struct {
		name  string
		value float64
	}{{"adam_beta1", beta1}, {"adam_beta2", beta2}} {
		if !(b.value >= 0 && b.value < 1) {
			return nil, fmt.Errorf("%s is %v, want 0 <= beta < 1", b.name, b.value)
		}
	}
	if !(eps >= 0) {
		return nil, fmt.Errorf("adam_epsilon is %v, want at least 0", eps)
	}
	o := &AdamW{dev: dev, groups: groups, moments: map[*tensor.Param]moments{}, beta1: beta1, beta2: beta2, eps: eps}
	names := map[string]bool{}
	for _, g := range groups {
		if !(g.WeightDecay >= 0) {
			return nil, fmt.Errorf("weight_decay is %v, want at least 0", g.WeightDecay)
		}
		for _, p := range g.Params {
			if names[p.Name] {
				panic("optim: parameter " + p.Name + " is in two groups")
			}
			if !p.Trainable() {
				panic("optim: parameter " + p.Name + " has no gradient")
			}
			names[p.Name] = true
			if err := o.allocate(p); err != nil {
				o.Close()
				return nil, fmt.Errorf("AdamW's moments of %s %v: %w", p.Name, p.Shape, err)
			}
		}
	}
	return o, nil
}

func (o *AdamW) allocate(p *tensor.Param) error {
	m, err := o.dev.Alloc(4 * p.Data.Len())
	if err != nil {
		return err
	}
	v, err := o.dev.Alloc(4 * p.Data.Len())
	if err != nil {
		o.dev.Free(m)
		return err
	}
	o.moments[p] = moments{m, v, driver.View[float32](m), driver.View[float32](v)}
	return nil
}

var _ Adaptive = (*AdamW)(nil)

// Step implements Optimizer.
func (o *AdamW) Step(lr float64, gradScale float32) {
	o.steps++
	for _, g := range o.groups {
		h := adamw.Hyper{
			LR: lr * g.LRScale, Beta1: o.beta1, Beta2: o.beta2, Eps: o.eps,
			WeightDecay: g.WeightDecay, Step: o.steps, GradScale: gradScale,
		}
		for _, p := range g.Params {
			mo := o.moments[p]
			if p.Half.IsNil() {
				adamw.Step(o.dev, p.Data, p.Grad, mo.m, mo.v, h)
			} else {
				adamw.StepBF16(o.dev, p.Data, p.Half, p.Grad, mo.m, mo.v, h)
			}
		}
	}
}

// Moments implements Adaptive.
func (o *AdamW) Moments(p *tensor.Param) (m, v driver.F32) {
	mo, ok := o.moments[p]
	if !ok {
		panic("optim: parameter " + p.Name + " is not optimised")
	}
	return mo.m, mo.v
}

// Betas returns β₁, β₂ and ε.
func (o *AdamW) Betas() (beta1, beta2, eps float64) { return o.beta1, o.beta2, o.eps }

// Steps is the number of steps taken.
func (o *AdamW) Steps() int { return o.steps }

// State implements Optimizer: the moments are tensors "m.<parameter>" and
// "v.<parameter>".
func (o *AdamW) State() (steps int, tensors []checkpoint.Tensor, err error) {
	for _, g := range o.groups {
		for _, p := range g.Params {
			mo := o.moments[p]
			for _, part := range []struct {
				name string
				s    driver.F32
			}{{"m.", mo.m}, {"v.", mo.v}} {
				host, err := driver.Read(o.dev, part.s)
				if err != nil {
					return 0, nil, fmt.Errorf("AdamW's moments of %s: %w", p.Name, err)
				}
				tensors = append(tensors, checkpoint.Tensor{Name: part.name + p.Name, Shape: p.Shape, F32: host})
			}
		}
	}
	return o.steps, tensors, nil
}

// SetState implements Optimizer.
func (o *AdamW) SetState(steps int, w *checkpoint.Weights) error {
	if steps < 0 {
		return fmt.Errorf("AdamW: %d steps taken", steps)
	}
	n := 0
	for _, g := range o.groups {
		for _, p := range g.Params {
			mo := o.moments[p]
			if err := load(o.dev, w, "m."+p.Name, mo.m); err != nil {
				return err
			}
			if err := load(o.dev, w, "v."+p.Name, mo.v); err != nil {
				return err
			}
			n += 2
		}
	}
	if len(w.Names()) != n {
		return fmt.Errorf("%s holds %d moments, this run trains %d parameters: it belongs to another run", w.Path(w.Names()[0]), len(w.Names()), n/2)
	}
	o.steps = steps
	return nil
}

func load(dev driver.Device, w *checkpoint.Weights, name string, s driver.F32) error {
	return driver.Write(dev, s, func(x []float32) error { return w.ReadFloat32(name, x) })
}

// Bytes implements Optimizer.
func (o *AdamW) Bytes() uint64 {
	var n uint64
	for _, mo := range o.moments {
		n += uint64(mo.mMem.Size() + mo.vMem.Size())
	}
	return n
}

// Close implements Optimizer.
func (o *AdamW) Close() {
	for _, mo := range o.moments {
		o.dev.Free(mo.mMem)
		o.dev.Free(mo.vMem)
	}
	o.groups, o.moments = nil, nil
}

// NoDecay says whether weight decay skips a parameter: transformers 4.52 skips
// names containing bias, layernorm or rmsnorm in any case, which leaves the final
// norm, q_norm and k_norm decayed.
func NoDecay(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "bias") || strings.Contains(name, "layernorm") || strings.Contains(name, "rmsnorm")
}

// Groups splits parameters by NoDecay, the decayed ones first, as transformers'
// Trainer does. Empty groups are left out.
func Groups(params []*tensor.Param, weightDecay float64) []Group {
	var decayed, plain []*tensor.Param
	for _, p := range params {
		if NoDecay(p.Name) {
			plain = append(plain, p)
		} else {
			decayed = append(decayed, p)
		}
	}
	return nonEmpty(Group{decayed, 1, weightDecay}, Group{plain, 1, 0})
}

// LoRAPlus builds the groups of LLaMA-Factory's loraplus_lr_ratio: B matrices and
// one-dimensional parameters learn at lr·ratio, B of embeddings at embeddingLR,
// the rest at lr. Here, unlike in Groups, only biases escape the decay. Source:
// Hayou et al. 2024, arXiv:2402.12354; LLaMA-Factory 0.9.4 train/trainer_utils.py.
func LoRAPlus(params []*tensor.Param, weightDecay, lr, ratio, embeddingLR float64) []Group {
	var a, b, bias, embedding []*tensor.Param
	for _, p := range params {
		switch {
		case strings.Contains(p.Name, "lora_embedding_B"):
			embedding = append(embedding, p)
		case !strings.Contains(p.Name, "lora_B") && len(p.Shape) != 1:
			a = append(a, p)
		case strings.Contains(p.Name, "bias"):
			bias = append(bias, p)
		default:
			b = append(b, p)
		}
	}
	embeddingScale := 0.0
	if lr != 0 {
		embeddingScale = embeddingLR / lr
	}
	return nonEmpty(Group{a, 1, weightDecay}, Group{b, ratio, weightDecay}, Group{bias, ratio, 0}, Group{embedding, embeddingScale, weightDecay})
}

func nonEmpty(groups ...Group) []Group {
	var out []Group
	for _, g := range groups {
		if len(g.Params) > 0 {
			out = append(out, g)
		}
	}
	return out
}
