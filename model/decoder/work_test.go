package decoder

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
)

// plannedModel is the demo's model without its weights.
func plannedModel(t *testing.T, dev *plan.Device) *Model {
	t.Helper()
	m, err := Load(dev, demoModel, Options{Planned: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

const demoModel = "../../tools/dataflex-demo/model"

// The operations of the demo's model, counted from the shapes of its matrices.
func TestWork(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	m := plannedModel(t, plan.New(dev))
	c := m.Config()
	perLayer := c.Hidden*c.Heads*c.HeadDim*2 + c.Hidden*c.KVHeads*c.HeadDim*2 + 3*c.Hidden*c.Intermediate
	layers, head := float64(c.Layers*perLayer), float64(c.Vocab*c.Hidden)
	// Rows of 3 and 5 tokens: 8 tokens, 17 pairs of (9+25)/2, 4 labels.
	attention := 4 * 17 * float64(c.Heads*c.HeadDim*c.Layers)
	forward := 2*8*layers + 2*4*head + attention
	w := m.Work([]int{3, 5}, 4)
	if math.Abs(w.Forward-forward) > 1 || math.Abs(w.Backward-(forward+1.5*attention)) > 1 {
		t.Errorf("frozen: %+v, want %v and %v", w, forward, forward+1.5*attention)
	}
	if err := m.AddLoRA(LoRA{Rank: 2, Alpha: 4, Targets: []string{"q_proj"}}, func() float64 { return 0 }); err != nil {
		t.Fatal(err)
	}
	pair := float64(c.Layers * 2 * (c.Hidden + c.Heads*c.HeadDim))
	w = m.Work([]int{3, 5}, 4)
	if want := forward + 2*8*pair; math.Abs(w.Forward-want) > 1 || math.Abs(w.Backward-(want+2*8*pair+1.5*attention)) > 1 {
		t.Errorf("with adapters: %+v, want %v and %v", w, want, want+2*8*pair+1.5*attention)
	}
}

// In a mixture a token goes through some of the experts only.
func TestWorkOfExperts(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	c := Config{
		ModelType: "mixtral", Vocab: 8, Hidden: 4, Intermediate: 6, Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 4, Eps: 1e-5, AttentionScale: 1,
		Window: []int{0}, RopeTheta: 1e4, MaxPositions: 8, MoE: MoE{Experts: 8, TopK: 2, Intermediate: 6}, Sparse: []bool{true},
	}
	m, err := build(plan.New(dev), "x", c, forms{planned: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	// One token without a target: q, k, v and o have 64 weights, the router 32, two of eight
	// experts 144; half a pair.
	if w := m.Work([]int{1}, 0); w.Forward != 2*(64+32+144)+4*0.5*4 {
		t.Errorf("%+v", w)
	}
	c.ModelType = "granitemoe" // this family has its experts in one tensor
	stacked, err := build(plan.New(dev), "x", c, forms{planned: true})
	if err != nil {
		t.Fatal(err)
	}
	defer stacked.Close()
	if got, want := stacked.Work([]int{1}, 0), m.Work([]int{1}, 0); got != want {
		t.Errorf("stacked %+v, want %+v", got, want)
	}
}

// A planned model takes the memory of one that is loaded, and reads nothing.
func TestPlanned(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	whole, err := Load(dev, demoModel, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	planned := plannedModel(t, plan.New(dev))
	if a, b := whole.Memory(100, 60), planned.Memory(100, 60); a != b || a.Weights == 0 {
		t.Errorf("loaded %+v, planned %+v", a, b)
	}
}
