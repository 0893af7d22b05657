package optim

import (
	"regexp"
	"strings"

	"dataflex.dev/dataflex/model/tensor"
)

// Group is parameters with the same learning rate and decay.
type Group struct {
	Params      []*tensor.Param
	LRScale     float64 // multiplies the learning rate of Step
	WeightDecay float64
}

// NoDecay reports whether weight decay skips a parameter: transformers 4.52 skips names
// containing bias, layernorm or rmsnorm in any case, so that the final norm, q_norm and k_norm
// are decayed.
func NoDecay(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "bias") || strings.Contains(name, "layernorm") || strings.Contains(name, "rmsnorm")
}

// noDecayNorms is transformers 4.57's rule: no norm is decayed, including q_norm, k_norm and
// the final one.
var noDecayNorms = regexp.MustCompile(`(?i)bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)`)

// Groups splits parameters by NoDecay, the decayed ones first, as transformers'
// Trainer does. Empty groups are left out.
func Groups(params []*tensor.Param, weightDecay float64) []Group {
	return split(params, weightDecay, NoDecay)
}

func split(params []*tensor.Param, weightDecay float64, noDecay func(string) bool) []Group {
	var decayed, plain []*tensor.Param
	for _, p := range params {
		if noDecay(p.Name) {
			plain = append(plain, p)
		} else {
			decayed = append(decayed, p)
		}
	}
	return nonEmpty(Group{decayed, 1, weightDecay}, Group{plain, 1, 0})
}

// LoRAPlus builds the groups of LLaMA-Factory's loraplus_lr_ratio: B matrices and
// one-dimensional parameters are trained at lr·ratio, B of embeddings at embeddingLR, the rest
// at lr. Unlike in Groups, only biases are exempt from decay. Source: Hayou et al. 2024,
// arXiv:2402.12354; LLaMA-Factory 0.9.4 train/trainer_utils.py.
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
