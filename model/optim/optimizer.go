package optim

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Optimizer moves groups of parameters along their gradients. It is used by one
// goroutine at a time.
type Optimizer interface {
	// Step updates every parameter from its gradient times gradScale (what Clip gives,
	// 1 for none) at the learning rate lr. Gradients are left as they are.
	Step(lr float64, gradScale float32)
	// Steps is the number of steps taken.
	Steps() int
	// State is what a checkpoint must hold besides the weights: the number of steps
	// and named tensors. On a CPU the tensors may be the optimizer's own memory: write
	// them before the next Step.
	State() (steps int, tensors []checkpoint.Tensor, err error)
	// SetState continues from a State that was written as safetensors. It refuses one
	// with other tensors, or other shapes, than its own.
	SetState(steps int, w *checkpoint.Weights) error
	// Bytes is the device memory that the optimizer holds.
	Bytes() uint64
	// Close gives that memory back.
	Close()
}

// Adaptive is an Optimizer with Adam's moments, from which LESS takes the direction
// that Adam would move in with another gradient.
type Adaptive interface {
	Optimizer
	// Moments gives the running means of a parameter's gradient and of its square, not
	// corrected for their bias. p must be one of the optimizer's.
	Moments(p *tensor.Param) (m, v driver.F32)
	// Betas returns β₁, β₂ and ε.
	Betas() (beta1, beta2, eps float64)
}
