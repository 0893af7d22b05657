package decoder

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/model/autograd"
)

// Budget is the memory of training with one micro-batch shape, in bytes.
type Budget struct {
	Weights     uint64 // the model's own tensors
	Adapters    uint64 // LoRA's A and B, with their bf16 copies
	Gradients   uint64 // of everything trainable, except placed ones
	Optimizer   uint64 // the optimizer's state; not computed by Memory
	Activations uint64 // kept from forward to backward, and the working set
	Head        uint64 // the logits that exist at a time; on a device, all scratch memory of kernels
}

// Total is the sum.
func (b Budget) Total() uint64 {
	return b.Weights + b.Adapters + b.Gradients + b.Optimizer + b.Activations + b.Head
}

// Memory plans a training step over micro-batches of that many tokens, labelled of which
// have a target, with the present trainable parameters; the optimizer's memory is not
// included. Activations are counted by a pass that computes nothing, with the same tape that
// trains: they are exact for that many tokens in one sequence, and no shorter micro-batch
// takes more. In it all tokens of a mixture go to one expert, which is the most that the
// rows of a layer can take. Without tokens it is the model's present memory.
func (m *Model) Memory(tokens, labelled int) Budget {
	var b Budget
	for p := range m.parameters() {
		b.Weights += uint64(p.Bytes())
		b.Gradients += uint64(p.GradientBytes())
	}
	for p := range m.adapterTensors() {
		b.Adapters += uint64(p.Bytes())
	}
	b.Weights -= b.Adapters
	sharded, _ := m.ShardedBytes()
	b.Weights += sharded
	if tokens > 0 {
		b.Weights += m.panelBytes()
		b.Activations, b.Head = m.rehearse(tokens, labelled)
	}
	return b
}

// panelShare is the divisor for the share of a device's memory that packed weights may take:
// they are twice as large as the weights, which are kept as well.
const panelShare = 4

// panelBytes is the size of the frozen linears' panels that are not packed yet.
func (m *Model) panelBytes() (n uint64) {
	for _, p := range m.parts {
		if p.linear != nil {
			n += uint64(p.linear.Weight.PanelBytes(m.dev))
		}
	}
	if all := m.dev.Attributes().MemoryBytes; all > 0 && n > all/panelShare {
		return 0
	}
	return n
}

// pack packs the frozen linears for products on a host, once instead of in every product.
func (m *Model) pack() error {
	if m.panelBytes() == 0 {
		return nil
	}
	for _, p := range m.parts {
		if p.linear == nil {
			continue
		}
		if err := p.linear.Weight.Pack(m.dev); err != nil {
			return err
		}
	}
	return nil
}

// Reserve allocates the memory of b's activations now, so that no later pass of that size
// allocates any, and packs frozen weights.
func (m *Model) Reserve(b Budget) error {
	if err := m.pack(); err != nil {
		return fmt.Errorf("packing frozen weights: %w", err)
	}
	if err := m.tape.Reserve(b.Activations); err != nil {
		return fmt.Errorf("memory of a micro-batch: %w", err)
	}
	return nil
}

// Fits reports whether the device's memory holds passes of that many tokens for per-sample
// gradients, beside the model, its gradients, an optimizer's two moments and a quarter for
// what the passes are for. It depends on sizes alone, not on what is allocated now.
func (m *Model) Fits(tokens int) bool {
	have := m.dev.Attributes().MemoryBytes
	if have == 0 {
		return true
	}
	b := m.Memory(0, 0)
	var scratch uint64
	b.Optimizer = 2 * b.Gradients
	b.Activations, scratch = m.rehearsed(tokens, tokens, func(dry *Model, batch Batch, o Objective) error {
		_, err := dry.run(&batch, o, recording(o, func(int, gradproj.Factors) error { return nil }))
		return err
	})
	return b.Total()+scratch <= have/4*3
}

// rehearse is rehearsed for a training step.
func (m *Model) rehearse(tokens, labelled int) (activations, scratch uint64) {
	return m.rehearsed(tokens, labelled, func(dry *Model, b Batch, o Objective) error {
		_, err := dry.Backward(b, o)
		return err
	})
}

// rehearsed runs a pass on a device that only counts, and returns the memory of the tape and
// the scratch memory of kernels.
func (m *Model) rehearsed(tokens, labelled int, pass func(dry *Model, b Batch, o Objective) error) (activations, scratch uint64) {
	dev := plan.New(m.dev)
	dry := *m
	dry.dev, dry.tape, dry.follower, dry.shards = dev, autograd.New(dev), nil, nil
	dry.tape.BF16, dry.tape.Half, dry.tape.Adapters = m.tape.BF16, m.tape.Half, m.tape.Adapters
	b := Batch{
		Tokens: make([]int32, tokens), Targets: make([]int32, tokens),
		Positions: make([]int32, tokens), // of one token's length: the rope tables do not change
	}
	for i := min(labelled, tokens); i < tokens; i++ {
		b.Targets[i] = -1
	}
	o := Objective{Weight: make([]float32, tokens), Train: true, Balance: 1}
	if err := pass(&dry, b, o); err != nil {
		panic(fmt.Sprintf("decoder: a pass that computes nothing: %v", err)) // cannot happen
	}
	activations = dry.tape.HighWater()
	dry.tape.Close()
	if dev.Kind() == driver.CPU && m.head.LoRA == nil && m.head.Tokens == nil {
		return activations, uint64(m.headParams(tokens, 0).Workspace(m.dev, m.tape.BF16, labelled))
	}
	return activations, dev.Used()
}
