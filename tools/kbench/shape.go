package main

import (
	"fmt"
	"slices"
	"strings"
)

// model is where shapes come from.
type model struct {
	name, kind           string // kind is config.json's model_type
	layers, hidden, ffn  int
	heads, kv, headDim   int
	vocab                int
	eps, theta           float64 // of the norms and of RoPE
	tied                 bool    // the head is the embedding
	tokens               int     // of a micro-batch
	lengths              []int   // of the sequences that attention is timed with
	rank, dim            int     // of LoRA and of the projection
	samples              []int   // of a batch of gradients
	adapters             int     // entries of all LoRA matrices
	squares              []int   // extents of square products
	capabilityBenchmarks bool    // also attention as papers measure it: 16 heads of 128, 16384 tokens
}

// The shapes' sources: config.json of Meta-Llama-3-8B, Qwen2.5-7B and SmolLM2-135M.
var (
	llama = model{
		name: "llama3-8b", kind: "llama", layers: 32, hidden: 4096, ffn: 14336, heads: 32, kv: 8, headDim: 128, vocab: 128256, eps: 1e-5, theta: 500000,
		tokens: 8192, lengths: []int{512, 4096}, rank: 16, dim: 8192, samples: []int{64, 128}, adapters: 41943040,
		squares: []int{4096, 8192}, capabilityBenchmarks: true,
	}
	qwen = model{
		name: "qwen2.5-7b", kind: "qwen2", layers: 28, hidden: 3584, ffn: 18944, heads: 28, kv: 4, headDim: 128, vocab: 152064, eps: 1e-6, theta: 1000000,
		tokens: 8192, lengths: []int{2048}, rank: 16, dim: 8192, samples: []int{64}, adapters: 40370176,
	}
	smol = model{
		name: "smollm2-135m", kind: "llama", layers: 30, hidden: 576, ffn: 1536, heads: 9, kv: 3, headDim: 64, vocab: 49152, eps: 1e-5, theta: 100000, tied: true,
		tokens: 512, lengths: []int{128, 2048}, rank: 16, dim: 4096, samples: []int{8}, adapters: 4884480,
		squares: []int{1024},
	}
	smolBatch = func() model { // on a GPU, a micro-batch that fills it
		m := smol
		m.tokens, m.samples, m.squares = 16384, []int{128}, nil
		return m
	}()
	tiny = model{
		name: "tiny", kind: "llama", layers: 2, hidden: 64, ffn: 128, heads: 2, kv: 1, headDim: 32, vocab: 300, eps: 1e-5, theta: 10000,
		tokens: 48, lengths: []int{24}, rank: 8, dim: 64, samples: []int{4}, adapters: 5000, squares: []int{64},
	}
)

var (
	gpuModels = []model{llama, qwen, smolBatch}
	cpuModels = []model{smol}
	simModels = []model{tiny}
)

// linears are the inputs and outputs of a layer's linear maps, each shape once.
func (m model) linears() [][2]int {
	return [][2]int{{m.hidden, m.heads * m.headDim}, {m.hidden, m.kv * m.headDim}, {m.hidden, m.ffn}, {m.ffn, m.hidden}}
}

// Units that a floor's operations are done by.
const (
	tensor   = "tensor"   // products of bf16 in tensor cores
	multiply = "multiply" // float32 multiply-adds
)

// Floor is what a case cannot do without.
type Floor struct {
	Ops   float64 // a multiply-add counts two
	Unit  string  // what does them; "" where they do not matter
	Bytes float64 // moved to and from memory, each tensor once
}

// Dim is one extent of a case.
type Dim struct {
	Name string
	N    int
}

// Case is one kernel at one shape.
type Case struct {
	Op, Type, Model, Label string
	Dims                   []Dim
	Floor                  Floor
	// setup makes the operands, the call to be timed, and what it should leave.
	setup func(r *room) job
}

// Name is what -run matches.
func (c Case) Name() string { return strings.Join([]string{c.Op, c.Type, c.Model, c.Label}, "/") }

// family is the folder of kernels, more or less: what hangs together if it hangs.
func (c Case) family() string { family, _, _ := strings.Cut(c.Op, "_"); return family }

// generations reports whether Hopper has a kernel of its own for the case.
func (c Case) generations() bool {
	switch c.family() {
	case "gemm", "group", "lora", "attention", "xent":
		return c.Type == "bf16"
	}
	return c.family() == "gradproj" || c.family() == "quant" && c.Floor.Unit == tensor
}

// clusters reports whether there are kernels for clusters for the case.
func (c Case) clusters() bool {
	return c.Type == "bf16" && (c.family() == "gemm" || c.family() == "lora")
}

// worth is how early a case runs, 0 first: what a step of LoRA on an 8B model waits for,
// then what else training runs in bf16, the other models, and float32.
func (c Case) worth() int {
	switch product := c.Floor.Unit == tensor && c.Type == "bf16"; {
	case product && c.Model == llama.name && c.Op != "xent_loss" && c.Op != "xent_dh_dw":
		return 0
	case c.Model == llama.name && (product || c.Floor.Unit == ""):
		return 1
	case product || c.Floor.Unit == "":
		return 2
	}
	return 3
}

// dims pairs names with extents and gives the label made of them.
func dims(names string, n ...int) ([]Dim, string) {
	var out []Dim
	label := make([]string, len(n))
	for i, name := range strings.Fields(names) {
		out = append(out, Dim{name, n[i]})
		label[i] = fmt.Sprint(n[i])
	}
	return out, strings.Join(label, "x")
}

// allCases are the cases of the models, each shape once, what is worth most first.
func allCases(models []model) []Case {
	var out []Case
	for _, m := range models {
		for _, family := range []func(model) []Case{
			products, groups, loraProducts, experts, loraCases, attentionCases, lossCases, projections, normCases, pointwise, vectors, coded,
		} {
			out = append(out, family(m)...)
		}
	}
	seen := map[string]bool{}
	out = slices.DeleteFunc(out, func(c Case) bool {
		key := c.Op + c.Type + c.Label
		again := seen[key]
		seen[key] = true
		return again
	})
	slices.SortStableFunc(out, func(a, b Case) int { return a.worth() - b.worth() })
	return out
}
