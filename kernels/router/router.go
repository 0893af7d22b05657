// Package router is the mixture of experts around the experts themselves: which
// experts compute a token, the copies to them and back, and the gate of a shared expert.
//
// T tokens choose K of E experts each. All tensors are float32 and row-major; choices
// and places are int32 and on the device, too, so that nothing waits for the host. Tokens
// are independent, sums over a token's experts run in the order of its choices: the bits
// are the same for every number of threads.
//
//	probs[t,e]  = softmax over e of logits[t,e]
//	choice[t,k] = the K largest, descending; of equal ones the first
//	weight[t,k] = probs[t, choice[t,k]], divided by their sum over k with Normalize
//
// Source: transformers 4.52 models/{mixtral,qwen2_moe,qwen3_moe}; Shazeer et al. 2017,
// arXiv:1701.06538; Fedus et al. 2021, arXiv:2101.03961 (load balancing).
package router

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Params are the shape and the variant.
type Params struct {
	Tokens, Experts, TopK int
	Normalize             bool // a token's weights sum to 1
}

// Forward overwrites probs [T, E], choice [T·K] and weight [T, K] from logits [T, E].
func Forward(dev driver.Device, p Params, logits, probs driver.F32, choice driver.I32, weight driver.F32) {
	p.check(logits, probs, choice.Len(), weight)
	dispatch.Run(dev, "router.Forward", func(c *cpu.Device) {
		forwardCPU(c, p, logits.Host(), probs.Host(), choice.Host(), weight.Host())
	}, func(c driver.Launcher) {
		forwardPTX(c, p, logits, probs, choice, weight)
	})
}

// Backward overwrites dlogits [T, E] with the gradient by the weights' gradient
// dweight [T, K] (nil = 0), and by that of every row's probabilities, balance [E]
// (nil = 0): the load-balancing loss.
func Backward(dev driver.Device, p Params, probs driver.F32, choice driver.I32, weight, dweight driver.F32, balance []float32, dlogits driver.F32) {
	p.check(dlogits, probs, choice.Len(), weight)
	if !dweight.IsNil() && dweight.Len() != p.Tokens*p.TopK {
		panic("router: dweight is not [T, K]")
	}
	if balance != nil && len(balance) != p.Experts {
		panic("router: balance is not [E]")
	}
	dispatch.Run(dev, "router.Backward", func(c *cpu.Device) {
		backwardCPU(c, p, probs.Host(), choice.Host(), weight.Host(), dweight.Host(), balance, dlogits.Host())
	}, func(c driver.Launcher) {
		backwardPTX(c, p, probs, choice, weight, dweight, balance, dlogits)
	})
}

func (p Params) check(logits, probs driver.F32, choices int, weight driver.F32) {
	switch {
	case p.Tokens < 0 || p.TopK < 1 || p.TopK > p.Experts:
		panic("router: Tokens < 0, or TopK not within 1 and Experts")
	case logits.Len() != p.Tokens*p.Experts || probs.Len() != logits.Len():
		panic("router: logits or probs is not [T, E]")
	case choices != p.Tokens*p.TopK || weight.Len() != choices:
		panic("router: choice or weight is not [T, K]")
	}
}

// Dispatch overwrites out [T·K, d] with the rows of x [T, d] in the plan's order.
func Dispatch(dev driver.Device, plan Plan, x, out driver.F32, d int) {
	plan.check(x, out, d)
	dispatch.Run(dev, "router.Dispatch", func(c *cpu.Device) {
		dispatchCPU(c, plan, x.Host(), out.Host(), d)
	}, func(c driver.Launcher) {
		dispatchPTX(c, plan, x, out, d)
	})
}

// DispatchBackward overwrites dx [T, d]: the sum of a token's rows of dout [T·K, d].
func DispatchBackward(dev driver.Device, plan Plan, dout, dx driver.F32, d int) {
	plan.check(dx, dout, d)
	dispatch.Run(dev, "router.DispatchBackward", func(c *cpu.Device) {
		combineCPU(c, plan, dout.Host(), nil, dx.Host(), d)
	}, func(c driver.Launcher) {
		combinePTX(c, plan, dout, driver.F32{}, dx, d)
	})
}

// Combine overwrites out [T, d]: a token's rows of y [T·K, d], weighted by weight [T, K].
func Combine(dev driver.Device, plan Plan, y, weight, out driver.F32, d int) {
	plan.check(out, y, d)
	if weight.Len() != plan.Slot.Len() {
		panic("router: weight is not [T, K]")
	}
	dispatch.Run(dev, "router.Combine", func(c *cpu.Device) {
		combineCPU(c, plan, y.Host(), weight.Host(), out.Host(), d)
	}, func(c driver.Launcher) {
		combinePTX(c, plan, y, weight, out, d)
	})
}

// CombineBackward overwrites dy [T·K, d], which may be y, and dweight [T, K] from
// dout [T, d].
func CombineBackward(dev driver.Device, plan Plan, dout, y, weight, dy, dweight driver.F32, d int) {
	plan.check(dout, y, d)
	if weight.Len() != plan.Slot.Len() || dweight.Len() != weight.Len() || dy.Len() != y.Len() {
		panic("router: weight or dweight is not [T, K], or dy not shaped like y")
	}
	dispatch.Run(dev, "router.CombineBackward", func(c *cpu.Device) {
		combineBackwardCPU(c, plan, dout.Host(), y.Host(), weight.Host(), dy.Host(), dweight.Host(), d)
	}, func(c driver.Launcher) {
		combineBackwardPTX(c, plan, dout, y, weight, dy, dweight, d)
	})
}

func (p Plan) check(tokens, places driver.F32, d int) {
	if places.Len() != p.Slot.Len()*d || tokens.Len()*p.TopK != places.Len() {
		panic("router: a tensor is not [T, d] or [T·K, d]")
	}
}

// Gate multiplies the rows of x [T, d] by σ(gate [T]) into out, which may be x.
func Gate(dev driver.Device, x, gate, out driver.F32, d int) {
	if x.Len() != gate.Len()*d || out.Len() != x.Len() {
		panic("router: x or out is not [T, d]")
	}
	dispatch.Run(dev, "router.Gate", func(c *cpu.Device) {
		gateCPU(c, x.Host(), gate.Host(), out.Host(), d)
	}, func(c driver.Launcher) {
		gatePTX(c, x, gate, out, d)
	})
}

// GateBackward overwrites dx [T, d], which may be dout or x, and dgate [T]:
// dx = dout·σ, dgate = σ(1−σ)·Σ dout·x.
func GateBackward(dev driver.Device, dout, x, gate, dx, dgate driver.F32, d int) {
	if x.Len() != gate.Len()*d || dout.Len() != x.Len() || dx.Len() != x.Len() || dgate.Len() != gate.Len() {
		panic("router: dout, x or dx is not [T, d], or dgate not [T]")
	}
	dispatch.Run(dev, "router.GateBackward", func(c *cpu.Device) {
		gateBackwardCPU(c, dout.Host(), x.Host(), gate.Host(), dx.Host(), dgate.Host(), d)
	}, func(c driver.Launcher) {
		gateBackwardPTX(c, dout, x, gate, dx, dgate, d)
	})
}
