package decoder

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/model/tensor"
)

// predictRows is the number of rows whose logits are computed at once.
const predictRows = 64

// Predictions returns the most probable next token for every position with a target (the lowest
// id among equals), and -1 elsewhere: [T]. There is no dropout.
func (m *Model) Predictions(b Batch) (tokens []int32, err error) {
	err = m.pass(false, false, func() (err error) { tokens, err = m.predictions(b); return err })
	return tokens, err
}

func (m *Model) predictions(b Batch) ([]int32, error) {
	h, err := m.Hidden(b, m.config.Layers)
	if err != nil {
		return nil, err
	}
	d, vocab := m.config.Hidden, m.config.Vocab
	memory, err := m.dev.Alloc(4 * predictRows * (d + vocab))
	if err != nil {
		return nil, fmt.Errorf("logits of %d tokens: %w", predictRows, err)
	}
	defer m.dev.Free(memory)
	buffer := driver.View[float32](memory)
	rows, logits := buffer.Sub(0, predictRows*d), buffer.Sub(predictRows*d, predictRows*(d+vocab))
	out := make([]int32, len(b.Tokens))
	var at []int32 // positions to gather
	flush := func() error {
		embed.Forward(m.dev, h, at, rows.Sub(0, len(at)*d), d)
		// Soft-capping and scaling keep the order of the logits.
		if err := m.headProduct(len(at), rows.Sub(0, len(at)*d), logits.Sub(0, len(at)*vocab)); err != nil {
			return err
		}
		z, err := driver.Read(m.dev, logits.Sub(0, len(at)*vocab))
		if err != nil {
			return err
		}
		for i, t := range at {
			out[t] = argmax(z[i*vocab : (i+1)*vocab])
		}
		at = at[:0]
		return nil
	}
	for t, target := range b.Targets {
		if out[t] = -1; target < 0 {
			continue
		}
		if at = append(at, int32(t)); len(at) == predictRows {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if len(at) > 0 {
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// headProduct computes z [n, Vocab] = h [n, Hidden] times the head plus its bias, in the head's
// precision.
func (m *Model) headProduct(n int, h, z driver.F32) error {
	d, vocab := m.config.Hidden, m.config.Vocab
	if m.head.LoRA != nil || m.head.Bias != nil {
		return m.tape.Product(&m.head.Linear, h, z)
	}
	o := tensor.Operand{F32: gemm.Dense(h, n, d)}
	if m.head.Weight.Narrows() {
		memory, err := m.dev.Alloc(2 * n * d)
		if err != nil {
			return fmt.Errorf("%d rows in bf16: %w", n, err)
		}
		defer m.dev.Free(memory)
		o.BF16 = gemm.Dense(driver.View[driver.BF16](memory), n, d)
		cast.Narrow(m.dev, h, o.BF16.Data)
	}
	m.head.Weight.Multiply(m.dev, gemm.NT, 1, o, 0, gemm.Dense(z, n, vocab))
	return nil
}

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}
