package curriculum

import (
	"context"
	"encoding/json"
	"fmt"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
)

// Weights multiplies the stages' weights of a step's rows. The product has mean 1 over the
// step; with a single stage the weights are those of a run with that method alone.
func (p *pipeline) Weights(ctx context.Context, s *Step) (Weights, error) {
	if p.upstream {
		return p.upstreamWeights(ctx, s)
	}
	var out Weights
	var loss [][]float64 // of the rows, where a weighter has asked for it
	stages := 0
	multiply := func(rows [][]float64, how algo.Reduction) {
		if stages++; out.Rows == nil {
			out = Weights{Rows: rows, How: how}
			return
		}
		for i := range rows {
			for r := range rows[i] {
				out.Rows[i][r] *= rows[i][r]
			}
		}
	}
	if m := p.mixing; m != nil && m.inLoss != nil && m.active(s.Index) {
		rows, err := p.domainWeights(ctx, s)
		if err != nil {
			return out, err
		}
		if rows != nil {
			multiply(rows, algo.TokenMean)
		}
	}
	for _, w := range p.weighing {
		if !w.active(s.Index) {
			continue
		}
		rows, seen, how, err := weigh(ctx, w.weighter, w.Key, s)
		if err != nil {
			return out, err
		}
		loss = seen
		multiply(rows, how)
	}
	if stages > 1 {
		meanOne(out.Rows)
	}
	if loss != nil {
		p.run.Journal.Weighed(s.Index+1, s.Micros, out.Rows, loss)
	}
	return out, nil
}

// meanOne scales weights to mean 1 over a step; weights that are all 0 stay as they are.
func meanOne(weights [][]float64) {
	var sum float64
	n := 0
	for _, rows := range weights {
		for _, w := range rows {
			sum, n = sum+w, n+1
		}
	}
	for _, rows := range weights {
		for r := range rows {
			if sum > 0 {
				rows[r] *= float64(n) / sum
			}
		}
	}
}

// weigh calls a weighter with the loss of every row of the step.
func weigh(ctx context.Context, w algo.Weighter, name string, s *Step) (rows, loss [][]float64, how algo.Reduction, err error) {
	if loss, err = s.Loss(ctx); err != nil {
		return nil, nil, 0, err
	}
	if rows, how, err = w.Weigh(ctx, algo.WeightRequest{Step: s.Index, Total: s.Total, Micros: s.Micros, Loss: loss}); err != nil {
		return nil, nil, 0, fmt.Errorf("weighter %s: %w", name, err)
	}
	return rows, loss, how, nil
}

// domainWeights returns a mixer's weights of the domains as weights of the rows.
func (p *pipeline) domainWeights(ctx context.Context, s *Step) ([][]float64, error) {
	micros := reports(s, p.domainOf)
	w, ok := p.mixing.mixer.(algo.StepWeigher)
	if !ok {
		return byDomain(s.Micros, p.mixing.inLoss.DomainWeights(), p.domainOf), nil
	}
	weights, err := w.StepWeights(ctx, s.Index, micros)
	if err != nil || weights == nil {
		return nil, err
	}
	return byDomain(s.Micros, weights, p.domainOf), nil
}

// byDomain returns every row's domain's weight.
func byDomain(micros []batch.Micro, weights []float64, domainOf func(row int) int) [][]float64 {
	out := make([][]float64, len(micros))
	for i, m := range micros {
		out[i] = make([]float64, len(m.Rows))
		for r, row := range m.Rows {
			out[i][r] = weights[domainOf(row)]
		}
	}
	return out
}

// upstreamWeights returns the weights that DataFlex uses: none before the first stage begins;
// then a weighter's own weights, or DoReMi's α times each row's mean loss, averaged over the
// micro-batch, so that the loss is 1/k of an unweighted one (finding 65).
func (p *pipeline) upstreamWeights(ctx context.Context, s *Step) (Weights, error) {
	for _, w := range p.weighing {
		if !w.active(s.Index) {
			continue
		}
		rows, loss, how, err := weigh(ctx, w.weighter, w.Key, s)
		if err != nil {
			return Weights{}, err
		}
		p.run.Journal.Weighed(s.Index+1, s.Micros, rows, loss)
		return Weights{Rows: rows, How: how, Plain: true}, nil
	}
	if m := p.mixing; m != nil && m.inLoss != nil && m.active(s.Index) {
		return p.upstreamDoReMi(ctx, s)
	}
	return Weights{How: p.reduction(algo.TokenMean)}, nil
}

// upstreamDoReMi updates α in a due step after its first micro-batch, from that micro-batch.
func (p *pipeline) upstreamDoReMi(ctx context.Context, s *Step) (Weights, error) {
	m := p.mixing
	if err := m.rewind(s.Index); err != nil {
		return Weights{}, err
	}
	out := Weights{How: algo.RowSum, Plain: true, Rows: byDomain(s.Micros[:1], m.inLoss.DomainWeights(), p.domainOf)}
	if len(p.domains) > 1 && m.moves(s.Index) {
		micros := reports(s, p.domainOf)[:1]
		if err := m.observe(ctx, s, micros); err != nil {
			return out, err
		}
		if _, err := m.mixer.Mix(ctx, algo.MixRequest{Step: s.Index, Update: m.asked}); err != nil {
			return out, fmt.Errorf("mixer %s: %w", m.Key, err)
		}
		m.moved = s.Index
	}
	out.Rows = append(out.Rows, byDomain(s.Micros[1:], m.inLoss.DomainWeights(), p.domainOf)...)
	for _, rows := range out.Rows {
		for r := range rows {
			rows[r] /= float64(len(s.Micros) * len(rows))
		}
	}
	return out, nil
}

// moves reports whether upstream's DoReMi updates α in a step. It has a schedule of its own for
// that, beside the one by which the stage is due at the start of an interval.
func (m *mixing) moves(step int) bool {
	return m.active(step) && (m.moved < 0 || step-m.moved >= m.Every)
}

// mixingBegan is a mixer's state at the start of a step, which may be weighed again.
type mixingBegan struct {
	step, moved int
	state       json.RawMessage
}

// rewind records the mixer's state at the start of a step, or restores it.
func (m *mixing) rewind(step int) error {
	if m.began != nil && m.began.step == step {
		m.moved = m.began.moved
		return m.restore(m.began.state)
	}
	raw, err := m.state()
	m.began = &mixingBegan{step, m.moved, raw}
	return err
}
