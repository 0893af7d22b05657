package router

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed router.sm80.ptx.br
var sm80 string

var family = ptx.New("router", sm80)

// rowThreads is the block of the kernels that move rows.
const rowThreads = 128

// planThreads is the block of the kernel that plans.
const planThreads = 512

// sizes end struct gate and struct gate_gradient of router.cu, and are in those of
// scores.cu behind the pointers.
type sizes struct{ tokens, experts, topK, normalize int32 }

// Parameters of the kernels of router.cu.
type (
	gateArguments struct {
		logits, probs, choice, weight uintptr
		sizes
	}
	gateGradient struct {
		probs, choice, weight, dweight, balance, dlogits uintptr
		sizes
	}
	planArguments struct {
		choice, token, slot, offsets, tiles uintptr
		choices, experts, topK, most        int32
	}
	dispatchParameters struct {
		out, x, from uintptr
		d            int32
	}
	combineParameters struct {
		out, y, slot, weight uintptr
		topK, d              int32
	}
	combineGradient struct {
		dy, dweight, dout, y, slot, weight uintptr
		topK, d                            int32
	}
	scaleParameters struct {
		out, x, gate uintptr
		d            int32
	}
	scaleGradient struct {
		dx, dgate, dout, x, gate uintptr
		d                        int32
	}
)

var (
	gates            = ptx.Declare[ptx.One[gateArguments]](family, "router_forward")
	gateGradients    = ptx.Declare[ptx.One[gateGradient]](family, "router_backward")
	plans            = ptx.Declare[ptx.One[planArguments]](family, "router_plan")
	dispatches       = ptx.Declare[dispatchParameters](family, "router_dispatch")
	combines         = ptx.Declare[combineParameters](family, "router_combine")
	combineGradients = ptx.Declare[combineGradient](family, "router_combine_backward")
	scales           = ptx.Declare[scaleParameters](family, "router_gate")
	scaleGradients   = ptx.Declare[scaleGradient](family, "router_gate_backward")
)

func (p Params) sizes() sizes {
	return sizes{int32(p.Tokens), int32(p.Experts), int32(p.TopK), ptx.Flag(p.Normalize)}
}

func forwardPTX(dev driver.Launcher, p Params, logits, probs driver.F32, choice driver.I32, weight driver.F32) {
	gates.Launch(ptx.On(dev), "router_forward", ptx.Grid(ptx.Blocks(p.Tokens, 8), 256), &ptx.One[gateArguments]{P: gateArguments{
		logits: logits.Addr(), probs: probs.Addr(), choice: choice.Addr(), weight: weight.Addr(), sizes: p.sizes(),
	}})
}

// groupPTX has a block for each expert, one at least: it also ends the lists.
func (plan Plan) groupPTX(dev driver.Launcher, p Params, choice driver.I32) {
	if p.Experts > MaxDeviceExperts {
		panic("router: no kernel for so many experts")
	}
	plans.Launch(ptx.On(dev), "router_plan", ptx.Grid(p.Experts, planThreads), &ptx.One[planArguments]{P: planArguments{
		choice: choice.Addr(), token: plan.Token.Addr(), slot: plan.Slot.Addr(), offsets: plan.Offsets.Addr(), tiles: plan.Tiles.Addr(),
		choices: int32(choice.Len()), experts: int32(p.Experts), topK: int32(p.TopK), most: int32(plan.Tiles.Len() / 2),
	}})
}

func backwardPTX(dev driver.Launcher, p Params, probs driver.F32, choice driver.I32, weight, dweight driver.F32, balance []float32, dlogits driver.F32) {
	q := ptx.On(dev)
	var balanceGradient uintptr
	if balance != nil {
		balanceGradient = ptx.Upload(q, balance)
	}
	gateGradients.Launch(q, "router_backward", ptx.Grid(ptx.Blocks(p.Tokens, 8), 256), &ptx.One[gateGradient]{P: gateGradient{
		probs: probs.Addr(), choice: choice.Addr(), weight: weight.Addr(), dweight: dweight.Addr(), balance: balanceGradient,
		dlogits: dlogits.Addr(), sizes: p.sizes(),
	}})
}

func dispatchPTX(dev driver.Launcher, plan Plan, x, out driver.F32, d int) {
	dispatches.Launch(ptx.On(dev), "router_dispatch", ptx.Grid(plan.Token.Len(), rowThreads), &dispatchParameters{
		out: out.Addr(), x: x.Addr(), from: plan.Token.Addr(), d: int32(d),
	})
}

// combinePTX sums a token's rows, all of weight 1 where weight is nil.
func combinePTX(dev driver.Launcher, plan Plan, y, weight, out driver.F32, d int) {
	combines.Launch(ptx.On(dev), "router_combine", ptx.Grid(plan.Slot.Len()/plan.TopK, rowThreads), &combineParameters{
		out: out.Addr(), y: y.Addr(), slot: plan.Slot.Addr(), weight: weight.Addr(), topK: int32(plan.TopK), d: int32(d),
	})
}

func combineBackwardPTX(dev driver.Launcher, plan Plan, dout, y, weight, dy, dweight driver.F32, d int) {
	combineGradients.Launch(ptx.On(dev), "router_combine_backward", ptx.Grid(plan.Slot.Len(), rowThreads), &combineGradient{
		dy: dy.Addr(), dweight: dweight.Addr(), dout: dout.Addr(), y: y.Addr(), slot: plan.Slot.Addr(), weight: weight.Addr(),
		topK: int32(plan.TopK), d: int32(d),
	})
}

func gatePTX(dev driver.Launcher, x, gate, out driver.F32, d int) {
	scales.Launch(ptx.On(dev), "router_gate", ptx.Grid(gate.Len(), rowThreads), &scaleParameters{
		out: out.Addr(), x: x.Addr(), gate: gate.Addr(), d: int32(d),
	})
}

func gateBackwardPTX(dev driver.Launcher, dout, x, gate, dx, dgate driver.F32, d int) {
	scaleGradients.Launch(ptx.On(dev), "router_gate_backward", ptx.Grid(gate.Len(), rowThreads), &scaleGradient{
		dx: dx.Addr(), dgate: dgate.Addr(), dout: dout.Addr(), x: x.Addr(), gate: gate.Addr(), d: int32(d),
	})
}
