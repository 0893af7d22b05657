package train

import (
	"context"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/tensor"
)

// passes takes micro-batches through the model, forward and backward.
//
// Consecutive micro-batches of a lane share a pass, up to most tokens: a GPU is as fast as
// its passes are long. Masks, noise and sums over tokens remain separate for each micro-batch
// (decoder.Part), so that the division into passes changes no bit of a run: it may depend on
// the device and its memory, and is not part of a checkpoint.
type passes struct {
	config  *config.Config
	device  driver.Device
	model   *decoder.Model
	params  []*tensor.Param // that train
	rows    []data.Example
	seed    uint64
	padding int // the multiple that rows are padded to upstream
	most    int // tokens of the micro-batches that share a pass; 0 = each has its own
	lanes   *lanes
}

// sharedTokens is passes.most on a GPU, where merge_tokens does not say it.
const sharedTokens = 8192

// pass is the numbers of a step's micro-batches that go through the model together.
type pass []int

// newPasses is for the model and the rows of a run.
func newPasses(c *config.Config, dev driver.Device, model *decoder.Model, rows []data.Example) *passes {
	p := &passes{config: c, device: dev, model: model, params: model.Trainable(), rows: rows, seed: uint64(c.Training.Seed), padding: 1}
	if c.Tuning.Stage == config.StageSFT {
		p.padding = processor.PaddingMultiple
	}
	return p
}

// group packs the micro-batches of a step, the step-th of total from 0, and counts their
// labels.
func (p *passes) group(micros []dealt, step, total int) (s *curriculum.Step, labels int) {
	s = &curriculum.Step{Index: step, Total: total}
	for _, micro := range micros {
		m := batch.Pack(p.rows, micro.rows)
		examples := make([]data.Example, len(micro.rows))
		for i, r := range micro.rows {
			examples[i] = p.rows[r]
		}
		m.PadLen = processor.PaddedLength(examples, p.padding)
		s.Micros, s.Ranks = append(s.Micros, m), append(s.Ranks, micro.rank)
		labels += m.Labels
	}
	var loss [][]float64
	s.Loss = func(ctx context.Context) (_ [][]float64, err error) {
		if loss == nil {
			loss, err = p.rowLosses(ctx, s)
		}
		return loss, err
	}
	return s, labels
}

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

// rowLosses is the mean loss of every row's tokens; NaN for a row without a target. Rows
// whose loss is NaN or Inf are a *notFinite error.
func (p *passes) rowLosses(ctx context.Context, s *curriculum.Step) (out [][]float64, err error) {
	tokenLoss := make([][]float32, len(s.Micros))
	for _, g := range p.cut(s, p.lanes.own) {
		if err = ctx.Err(); err == nil {
			err = p.losses(s, g, tokenLoss)
		}
		if err != nil {
			break
		}
	}
	if err := p.lanes.share(ctx, "the losses of the step's rows", s, tokenLoss, nil, err); err != nil {
		return nil, err
	}
	broken := &notFinite{what: "loss"}
	for i, m := range s.Micros {
		mean, ok := m.RowMeans(tokenLoss[i])
		for r := range mean {
			if !ok[r] {
				mean[r] = math.NaN()
			}
		}
		out = append(out, mean)
		broken.add(m, tokenLoss[i])
	}
	if len(broken.rows) > 0 {
		return nil, broken
	}
	return out, nil
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

// smoothing is how much of a label's probability is spread over the others.
func (p *passes) smoothing(w curriculum.Weights) float32 {
	if w.Plain {
		return 0
	}
	return float32(p.config.Training.LabelSmoothingFactor)
}

// dropoutSeed differs for every micro-batch of the run and depends on nothing
// else, so that a resumed run draws the same masks.
func (p *passes) dropoutSeed(step, index int) uint64 {
	const golden = 0x9e3779b97f4a7c15 // 2⁶⁴/φ, spreads consecutive counters
	return (p.seed+1)*golden ^ uint64(step)<<20 ^ uint64(index)
}

// describe names rows of a micro-batch.
func (p *passes) describe(rows []int) string {
	s := ""
	for i, r := range rows {
		if i > 0 {
			s += ", "
		}
		if i == 4 {
			return s + fmt.Sprintf("and %d more", len(rows)-i)
		}
		s += fmt.Sprintf("row %d of %s", p.rows[r].Row, p.rows[r].Dataset)
	}
	return s
}

func clearGradients(dev driver.Device, params []*tensor.Param) {
	gradients := make([]driver.F32, len(params))
	for i, p := range params {
		gradients[i] = p.Grad
	}
	reduce.Clear(dev, gradients...)
}
