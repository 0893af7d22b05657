package router

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed scores.sm80.ptx.br
var sm80Scores string

var familyScores = ptx.New("router, scores", sm80Scores)

// MaxDeviceGroups is the most groups of experts that the device's kernel supports.
const MaxDeviceGroups = 32

// Parameters of the kernels of scores.cu.
type (
	scoreArguments struct {
		logits, bias, probs, choice, likely, weight uintptr
		sizes
		softmax, groups, topGroups int32
		scale, floor               float32
	}
	scoreGradient struct {
		logits, probs, choice, weight, dweight, balance, dlogits uintptr
		sizes
		softmax      int32
		scale, floor float32
	}
)

var (
	scoreGates     = ptx.Declare[ptx.One[scoreArguments]](familyScores, "router_scores")
	scoreGradients = ptx.Declare[ptx.One[scoreGradient]](familyScores, "router_scores_backward")
)

func (s Scores) forwardPTX(dev driver.Launcher, logits, probs driver.F32, choice, likely driver.I32, weight driver.F32) {
	if s.Groups > MaxDeviceGroups {
		panic("router: no kernel for so many groups")
	}
	scoreGates.Launch(ptx.On(dev), "router_scores", ptx.Grid(ptx.Blocks(s.Tokens, 8), 256), &ptx.One[scoreArguments]{P: scoreArguments{
		logits: logits.Addr(), bias: s.Bias.Addr(), probs: probs.Addr(), choice: choice.Addr(), likely: likely.Addr(), weight: weight.Addr(),
		sizes: s.sizes(), softmax: ptx.Flag(s.Softmax), groups: int32(s.Groups), topGroups: int32(s.TopGroups), scale: float32(s.scale()), floor: s.Floor,
	}})
}

func (s Scores) backwardPTX(dev driver.Launcher, logits, probs driver.F32, choice driver.I32, weight, dweight driver.F32, balance []float32, dlogits driver.F32) {
	q := ptx.On(dev)
	var balanceGradient uintptr
	if balance != nil {
		balanceGradient = ptx.Upload(q, balance)
	}
	scoreGradients.Launch(q, "router_scores_backward", ptx.Grid(ptx.Blocks(s.Tokens, 8), 256), &ptx.One[scoreGradient]{P: scoreGradient{
		logits: logits.Addr(), probs: probs.Addr(), choice: choice.Addr(), weight: weight.Addr(), dweight: dweight.Addr(), balance: balanceGradient,
		dlogits: dlogits.Addr(), sizes: s.sizes(), softmax: ptx.Flag(s.Softmax), scale: float32(s.scale()), floor: s.Floor,
	}})
}
