package curriculum

import (
	"context"
	"encoding/json"
	"fmt"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
)

// Weights multiplies what the stages say of a step's rows. The product has mean 1 over
// the step; one stage by itself is as in a run of its own.
func (p *pipeline) Weights(ctx context.Context, s *Step) (Weights, error) {
	if p.upstream {
		return p.upstreamWeights(ctx, s)
	}
	var out Weights
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
		rows, how, err := w.weigh(ctx, s)
		if err != nil {
			return out, err
		}
		multiply(rows, how)
	}
	if stages > 1 {
		meanOne(out.Rows)
	}
	if stages > 0 {
		return out, p.weighed(ctx, s, out.Rows)
	}
	return out, nil
}

// meanOne scales weights to mean 1 over a step; those that are all 0 stay.
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

// weighed tells the records what the rows weigh, where a weighter has asked for their
// losses already.
func (p *pipeline) weighed(ctx context.Context, s *Step, rows [][]float64) error {
	for _, w := range p.weighing {
		if w.active(s.Index) {
			loss, err := s.Loss(ctx)
			p.run.Journal.Weighed(s.Index+1, s.Micros, rows, loss)
			return err
		}
	}
	return nil
}

func (w *weighing) weigh(ctx context.Context, s *Step) ([][]float64, algo.Reduction, error) {
	loss, err := s.Loss(ctx)
	if err != nil {
		return nil, 0, err
	}
	rows, how, err := w.weighter.Weigh(ctx, algo.WeightRequest{Step: s.Index, Total: s.Total, Micros: s.Micros, Loss: loss})
	if err != nil {
		return nil, 0, fmt.Errorf("weighter %s: %w", w.Key, err)
	}
	return rows, how, nil
}

// domainWeights is a mixer's weights of the domains as weights of the rows.
func (p *pipeline) domainWeights(ctx context.Context, s *Step) ([][]float64, error) {
	told := reports(s, func(row int) int { return p.domain[row] })
	w, ok := p.mixing.mixer.(algo.StepWeigher)
	if !ok {
		return p.byDomain(s.Micros, p.mixing.inLoss.DomainWeights()), nil
	}
	weights, err := w.StepWeights(ctx, s.Index, told)
	if err != nil || weights == nil {
		return nil, err
	}
	return p.byDomain(s.Micros, weights), nil
}

func (p *pipeline) byDomain(micros []batch.Micro, weights []float64) [][]float64 {
	out := make([][]float64, len(micros))
	for i, m := range micros {
		out[i] = make([]float64, len(m.Rows))
		for r, row := range m.Rows {
			out[i][r] = weights[p.domain[row]]
		}
	}
	return out
}

// upstreamWeights is DataFlex's: before the first stage takes part the loss of a plain
// run; a weighter's own; or α of DoReMi times each row's mean loss, of which the mean over
// the micro-batch is taken, so that the loss is a k-th of a plain one (finding 65).
func (p *pipeline) upstreamWeights(ctx context.Context, s *Step) (Weights, error) {
	for _, w := range p.weighing {
		if !w.active(s.Index) {
			continue
		}
		rows, how, err := w.weigh(ctx, s)
		if err != nil {
			return Weights{}, err
		}
		return Weights{Rows: rows, How: how, Plain: true}, p.weighed(ctx, s, rows)
	}
	if m := p.mixing; m != nil && m.inLoss != nil && m.active(s.Index) {
		return p.upstreamDoReMi(ctx, s)
	}
	return Weights{How: p.reduction(algo.TokenMean)}, nil
}

// upstreamDoReMi moves α in a due step after its first micro-batch, which it is taken from.
func (p *pipeline) upstreamDoReMi(ctx context.Context, s *Step) (Weights, error) {
	m := p.mixing
	if err := m.rewind(s.Index); err != nil {
		return Weights{}, err
	}
	out := Weights{How: algo.RowSum, Plain: true, Rows: p.byDomain(s.Micros[:1], m.inLoss.DomainWeights())}
	if len(p.domains) > 1 && m.moves(s.Index) {
		told := reports(s, func(row int) int { return p.domain[row] })[:1]
		if err := m.observe(ctx, s, told); err != nil {
			return out, err
		}
		if _, err := m.mixer.Mix(ctx, algo.MixRequest{Step: s.Index, Update: m.asked}); err != nil {
			return out, fmt.Errorf("mixer %s: %w", m.Key, err)
		}
		m.moved = s.Index
	}
	out.Rows = append(out.Rows, p.byDomain(s.Micros[1:], m.inLoss.DomainWeights())...)
	for _, rows := range out.Rows {
		for r := range rows {
			rows[r] /= float64(len(s.Micros) * len(rows))
		}
	}
	return out, nil
}

// moves says whether upstream's DoReMi moves α in a step. It has a clock of its own for
// that, beside the one by which the stage is due at the start of an interval.
func (m *mixing) moves(step int) bool {
	return m.active(step) && (m.moved < 0 || step-m.moved >= m.Every)
}

// mixingBegan is what a mixer was at the start of a step, which may be weighed again.
type mixingBegan struct {
	step, moved int
	state       json.RawMessage
}

// rewind notes what the mixer is as a step begins, or takes it back there.
func (m *mixing) rewind(step int) error {
	if m.began != nil && m.began.step == step {
		m.moved = m.began.moved
		return m.restore(m.began.state)
	}
	raw, err := m.state()
	m.began = &mixingBegan{step, m.moved, raw}
	return err
}
