package optim

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Optimizer updates groups of parameters from their gradients. It is used by one goroutine at a
// time.
type Optimizer interface {
	// Step updates every parameter from its gradient times gradScale (the result of Clip, or 1)
	// at the learning rate lr. It does not modify the gradients.
	Step(lr float64, gradScale float32)
	// Steps is the number of steps taken.
	Steps() int
	// State is what a checkpoint must contain besides the weights: the number of steps and
	// named tensors. On a CPU the tensors may share the optimizer's own memory: write them
	// before the next Step. Where processes share the state out, all of them call it, and the one
	// that writes receives it.
	State() (steps int, tensors []checkpoint.Tensor, err error)
	// SetState restores a State that was written as safetensors. It refuses tensors with other
	// names or shapes than its own.
	SetState(steps int, w *checkpoint.Weights) error
	// Bytes is the size of the device memory that the optimizer holds.
	Bytes() uint64
	// Close frees that memory.
	Close()
}

// Adaptive is an Optimizer with Adam's moments, from which LESS computes Adam's update
// direction for another gradient.
type Adaptive interface {
	Optimizer
	// Moments calls f with the running means of a parameter's gradient and of its square,
	// without bias correction, which f only reads and does not keep. p must be one of the
	// optimizer's parameters. Where processes share the state out, all of them call it.
	Moments(p *tensor.Param, f func(m, v driver.F32) error) error
	// Betas returns β₁, β₂ and ε.
	Betas() (beta1, beta2, eps float64)
}
