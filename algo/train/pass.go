package train

import (
	"context"
	"fmt"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/model/decoder"
)

// Micro-batches of a lane's step share passes of up to passes.most tokens, as many as come in
// a row: a GPU is as fast as its passes are long. What hangs on a micro-batch, masks, noise
// and the sums over its tokens, stays its own, so that the cut changes no bit of a run
// (decoder.Part): it may follow the device and its memory, and is no part of a checkpoint.

// sharedTokens is passes.most on a GPU, where merge_tokens does not say it.
const sharedTokens = 8192

// pass is the numbers of a step's micro-batches that go through the model together.
type pass []int

// cut is the passes of a step's micro-batches of some lanes: none crosses a lane.
func (p *passes) cut(s *curriculum.Step, own func(lane int) bool) (out []pass) {
	of := map[int]pass{} // by lane
	lanes := 0
	for i, lane := range s.Ranks {
		lanes = max(lanes, lane+1)
		if own(lane) {
			of[lane] = append(of[lane], i)
		}
	}
	for lane := range lanes {
		all := of[lane]
		sizes := make([]int, len(all))
		for k, i := range all {
			sizes[k] = len(s.Micros[i].Tokens)
		}
		from := 0
		for _, end := range batch.Cut(sizes, p.most) {
			out, from = append(out, all[from:end]), end
		}
	}
	return out
}

// micros are a pass's.
func (g pass) micros(s *curriculum.Step) []batch.Micro {
	out := make([]batch.Micro, len(g))
	for k, i := range g {
		out[k] = s.Micros[i]
	}
	return out
}

// rows are those of all its micro-batches.
func (g pass) rows(s *curriculum.Step) (out []int) {
	for _, i := range g {
		out = append(out, s.Micros[i].Rows...)
	}
	return out
}

// losses are the tokens' losses of a pass, evaluated.
func (p *passes) losses(s *curriculum.Step, g pass, into [][]float32) error {
	micros := g.micros(s)
	all, err := p.model.Losses(batch.Join(micros), 0)
	if err != nil {
		return fmt.Errorf("step %d, %s: %w", s.Index+1, p.describe(g.rows(s)), err)
	}
	for k, i := range g {
		n := len(micros[k].Tokens)
		into[i], all = all[:n:n], all[n:]
	}
	return nil
}

// backward adds the shares of micro-batches in the step's gradient, one after the other, and
// returns their tokens' losses and their shares of the step's loss.
func (p *passes) backward(micros []batch.Micro, weights [][]float32, smoothing float32, seeds ...uint64) (losses [][]float32, shares []float64, err error) {
	c := p.config
	o := decoder.Objective{Smoothing: smoothing, Train: true}
	if a := c.Training.NEFTuneNoiseAlpha; a != nil {
		o.NEFTune = float32(*a)
	}
	if a := c.Model.MoEAuxLossCoef; a != nil { // for every micro-batch, as transformers adds it
		o.Balance = float32(*a)
	}
	for k, m := range micros {
		o.Weight = append(o.Weight, weights[k]...)
		o.Parts = append(o.Parts, decoder.Part{Tokens: len(m.Tokens), PadLen: m.PadLen, DropoutSeed: seeds[k]})
	}
	all, err := p.model.Backward(batch.Join(micros), o)
	if err != nil {
		return nil, nil, err
	}
	for k, m := range micros {
		n := len(m.Tokens)
		losses, all = append(losses, all[:n:n]), all[n:]
		var sum float64
		for i, loss := range losses[k] {
			if m.Targets[i] >= 0 {
				sum += float64(loss) * float64(weights[k][i])
			}
		}
		shares = append(shares, sum)
	}
	if o.Balance > 0 { // then micro-batches do not share passes
		loss, err := p.model.BalanceLoss()
		if err != nil {
			return nil, nil, err
		}
		shares[0] += float64(o.Balance) * loss
	}
	return losses, shares, nil
}

// backwards adds the gradient of one lane's micro-batches of a step, and their losses.
func (p *passes) backwards(ctx context.Context, s *curriculum.Step, lane int, weights [][]float32, smoothing float32) error {
	for _, g := range p.cut(s, func(of int) bool { return of == lane }) {
		if err := ctx.Err(); err != nil {
			return err
		}
		of, seeds := make([][]float32, len(g)), make([]uint64, len(g))
		for k, i := range g {
			of[k], seeds[k] = weights[i], p.dropoutSeed(s.Index, i)
		}
		losses, shares, err := p.backward(g.micros(s), of, smoothing, seeds...)
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", s.Index+1, p.describe(g.rows(s)), err)
		}
		for k, i := range g {
			s.TokenLoss[i], s.Returned[i] = losses[k], shares[k]
		}
	}
	return nil
}
