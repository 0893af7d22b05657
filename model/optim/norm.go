package optim

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/tensor"
)

// GradNorm is the L2 norm of all gradients together. It depends only on their values and order,
// not on the number of threads. It is NaN or Inf if any of them is.
func GradNorm(dev driver.Device, params []*tensor.Param) float64 {
	gradients := make([]driver.F32, len(params))
	for i, p := range params {
		gradients[i] = p.Grad
	}
	var sum float64
	for _, s := range reduce.SumsOfSquares(dev, gradients...) {
		sum += s
	}
	return math.Sqrt(sum)
}

// Clip is the factor by which gradients of that norm are multiplied so that their norm is at
// most maxNorm: torch's clip_grad_norm_, maxNorm/(norm + 1e-6) where that is below 1. maxNorm
// <= 0 turns clipping off. A NaN norm gives NaN: check the norm first.
func Clip(norm, maxNorm float64) float32 {
	if maxNorm <= 0 {
		return 1
	}
	c := float32(maxNorm / (norm + 1e-6))
	if c > 1 {
		return 1
	}
	return c
}
