package router

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Scores is routing by scores that a correction may move, in groups of experts, on a device
// of at most MaxDeviceGroups.
//
//	score[t,e]  = σ(logits[t,e]), or softmax over e of logits[t,e]
//	by[t,e]     = score[t,e] + Bias[e]; −∞ outside the TopGroups groups, of Experts/Groups
//	              neighbours each, whose two largest by[t,e] have the largest sums
//	choice[t,k] = the K largest by[t,e], descending; of equal ones the first
//	weight[t,k] = Scale·score[t, choice[t,k]] / max(Floor, Σ_k score[t, choice[t,k]]);
//	              without Normalize nothing is divided
//	probs[t,e]  = softmax over e of logits[t,e], which the balance loss reads
//
// Source: Wang et al. 2024, arXiv:2408.15664; DeepSeek-AI 2024, arXiv:2412.19437, section
// 2.1.2; transformers 5 models/{minimax_m2,deepseek_v3,ernie4_5_moe,llama4}.
type Scores struct {
	Params
	Softmax           bool       // scores are probabilities, not sigmoids
	Bias              driver.F32 // [E], has a part in the choice alone; nil = 0
	Groups, TopGroups int        // Groups 0 or 1: there are none
	Scale             float32    // 0 = 1
	Floor             float32    // of the divisor; 0 = none
}

// Forward overwrites probs [T, E], choice [T·K], weight [T, K] and likely [T·K], the K
// most probable experts, from logits [T, E].
func (s Scores) Forward(dev driver.Device, logits, probs driver.F32, choice, likely driver.I32, weight driver.F32) {
	s.checkScores(logits, probs, choice.Len(), weight)
	if likely.Len() != choice.Len() {
		panic("router: likely is not [T·K]")
	}
	dispatch.Run(dev, "router.Scores", func(c *cpu.Device) {
		s.forwardCPU(c, logits.Host(), probs.Host(), choice.Host(), likely.Host(), weight.Host())
	}, func(l driver.Launcher) {
		s.forwardPTX(l, logits, probs, choice, likely, weight)
	})
}

// Backward overwrites dlogits [T, E] with the gradient by the weights' gradient
// dweight [T, K] and by that of every row's probabilities, balance [E] (nil = 0).
func (s Scores) Backward(dev driver.Device, logits, probs driver.F32, choice driver.I32, weight, dweight driver.F32, balance []float32, dlogits driver.F32) {
	s.checkScores(logits, probs, choice.Len(), weight)
	if dweight.Len() != weight.Len() || dlogits.Len() != logits.Len() || balance != nil && len(balance) != s.Experts {
		panic("router: dweight is not [T, K], dlogits not [T, E], or balance not [E]")
	}
	dispatch.Run(dev, "router.Scores", func(c *cpu.Device) {
		s.backwardCPU(c, logits.Host(), probs.Host(), choice.Host(), weight.Host(), dweight.Host(), balance, dlogits.Host())
	}, func(l driver.Launcher) {
		s.backwardPTX(l, logits, probs, choice, weight, dweight, balance, dlogits)
	})
}

func (s Scores) checkScores(logits, probs driver.F32, choices int, weight driver.F32) {
	s.check(logits, probs, choices, weight)
	if !s.Bias.IsNil() && s.Bias.Len() != s.Experts {
		panic("router: bias is not [E]")
	}
	if s.Scale < 0 || s.Floor < 0 {
		panic("router: negative Scale or Floor")
	}
	if !s.grouped() {
		return
	}
	size := s.Experts / s.Groups
	if s.Experts%s.Groups != 0 || size < 2 || s.TopGroups < 1 || s.TopGroups > s.Groups || s.TopGroups*size < s.TopK {
		panic("router: groups of fewer than two experts, or too few groups for TopK")
	}
}

func (s Scores) grouped() bool { return s.Groups > 1 }

// scale is what weights are multiplied by.
func (s Scores) scale() float64 {
	if s.Scale == 0 {
		return 1
	}
	return float64(s.Scale)
}
