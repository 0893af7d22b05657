package router

import (
	_ "embed"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed scores.sm80.ptx.zst
var sm80Scores string

var familyScores = ptx.New("router, scores", sm80Scores)

// MaxDeviceGroups is how many groups of experts the device's kernel knows.
const MaxDeviceGroups = 32

// Parameters of the kernels of scores.cu.
type (
	scoreArguments struct {
		logits, bias, probs, choice, likely, weight                  uintptr
		tokens, experts, topK, normalize, softmax, groups, topGroups int32
		scale, floor                                                 float32
	}
	scoreGradient struct {
		logits, probs, choice, weight, dweight, balance, dlogits uintptr
		tokens, experts, topK, normalize, softmax                int32
		scale, floor                                             float32
	}
)

var (
	scoreGates     = ptx.Declare[ptx.One[scoreArguments]](familyScores, "router_scores")
	scoreGradients = ptx.Declare[ptx.One[scoreGradient]](familyScores, "router_scores_backward")
)

// forwardPTX waits for the choices: the host plans by them.
func (s Scores) forwardPTX(dev driver.Launcher, logits, probs driver.F32, choice, likely []int32, weight driver.F32) {
	if s.Groups > MaxDeviceGroups {
		panic("router: no kernel for so many groups")
	}
	if len(choice) == 0 {
		return
	}
	q := ptx.On(dev)
	size := 4 * len(choice)
	both := q.Scratch(0, 2*size) // choices, then the likely ones
	a := scoreArguments{
		logits: logits.Addr(), probs: probs.Addr(), choice: both, likely: both + uintptr(size), weight: weight.Addr(),
		tokens: int32(s.Tokens), experts: int32(s.Experts), topK: int32(s.TopK), normalize: ptx.Flag(s.Normalize), softmax: ptx.Flag(s.Softmax),
		groups: int32(s.Groups), topGroups: int32(s.TopGroups), scale: float32(s.scale()), floor: s.Floor,
	}
	if !s.Bias.IsNil() {
		a.bias = s.Bias.Addr()
	}
	scoreGates.Launch(q, "router_scores", ptx.Grid(ptx.Blocks(s.Tokens, 8), 256), &ptx.One[scoreArguments]{P: a})
	q.Read(unsafe.Slice((*byte)(unsafe.Pointer(&choice[0])), size), both)
	q.Read(unsafe.Slice((*byte)(unsafe.Pointer(&likely[0])), size), both+uintptr(size))
}

func (s Scores) backwardPTX(dev driver.Launcher, logits, probs driver.F32, choice []int32, weight, dweight driver.F32, balance []float32, dlogits driver.F32) {
	if len(choice) == 0 {
		return
	}
	q := ptx.On(dev)
	var slope uintptr
	if balance != nil {
		slope = ptx.Upload(q, balance)
	}
	scoreGradients.Launch(q, "router_scores_backward", ptx.Grid(ptx.Blocks(s.Tokens, 8), 256), &ptx.One[scoreGradient]{P: scoreGradient{
		logits: logits.Addr(), probs: probs.Addr(), choice: ptx.Upload(q, choice), weight: weight.Addr(), dweight: dweight.Addr(), balance: slope,
		dlogits: dlogits.Addr(), tokens: int32(s.Tokens), experts: int32(s.Experts), topK: int32(s.TopK), normalize: ptx.Flag(s.Normalize),
		softmax: ptx.Flag(s.Softmax), scale: float32(s.scale()), floor: s.Floor,
	}})
}
