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
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/decoder"
)

// group lays out the micro-batches of a step and counts their labels.
func (l *loop) group(rows [][]int) (s *curriculum.Step, labels int) {
	s = &curriculum.Step{Index: l.step, Total: l.Plan.Total}
	for _, micro := range rows {
		m := batch.Pack(l.train, micro)
		examples := make([]data.Example, len(micro))
		for i, r := range micro {
			examples[i] = l.train[r]
		}
		m.PadLen = processor.PaddedLength(examples, l.padding())
		s.Micros = append(s.Micros, m)
		labels += m.Labels
	}
	var loss [][]float64
	s.Loss = func(ctx context.Context) (_ [][]float64, err error) {
		if loss == nil {
			loss, err = l.rowLosses(ctx, s.Micros)
		}
		return loss, err
	}
	return s, labels
}

// rowLosses is the mean loss of every row's tokens; NaN for a row without a target. Rows
// whose loss is no number are a *notFinite error.
func (l *loop) rowLosses(ctx context.Context, micros []batch.Micro) (out [][]float64, err error) {
	broken := &notFinite{what: "loss"}
	for _, m := range micros {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		tokenLoss, err := l.model.Losses(m.Batch, 0)
		if err != nil {
			return nil, err
		}
		mean, ok := m.RowMeans(tokenLoss)
		for r := range mean {
			if !ok[r] {
				mean[r] = math.NaN()
			}
		}
		out = append(out, mean)
		broken.add(m, tokenLoss)
	}
	if len(broken.rows) > 0 {
		return nil, broken
	}
	return out, nil
}

// count keeps the books of a step: the ledger, and upstream's, which go by padded tokens.
func (l *loop) count(g *gradient) {
	for _, rows := range g.rows {
		l.ledger.Deal(rows)
	}
	for _, m := range g.step.Micros {
		padded := m.PadLen * len(m.Rows)
		l.totals.Tokens += len(m.Tokens)
		l.totals.Padded += padded
		l.totals.Flos += 6 * float64(padded) * l.nonEmbedding
	}
}

// padding is the multiple rows are padded to upstream.
func (l *loop) padding() int {
	if l.Config.Tuning.Stage == config.StageSFT {
		return processor.PaddingMultiple
	}
	return 1
}

// describe names the rows of a micro-batch.
func (l *loop) describe(rows []int) string {
	s := ""
	for i, r := range rows {
		if i > 0 {
			s += ", "
		}
		if i == 4 {
			return s + fmt.Sprintf("and %d more", len(rows)-i)
		}
		s += fmt.Sprintf("row %d of %s", l.train[r].Row, l.train[r].Dataset)
	}
	return s
}

func (l *loop) lastCheckpoint() string {
	if l.lastSaved == "" {
		return "no checkpoint was saved yet"
	}
	return "the last good checkpoint is " + l.lastSaved
}

// backward adds a micro-batch's share of the step's gradient and returns its
// tokens' losses and its share of the step's loss.
func (l *loop) backward(m batch.Micro, index int, weight []float32) ([]float32, float64, error) {
	c := l.Config
	o := decoder.Objective{Weight: weight, Smoothing: float32(c.Training.LabelSmoothingFactor), Train: true, DropoutSeed: l.dropoutSeed(index)}
	if a := c.Training.NEFTuneNoiseAlpha; a != nil {
		o.NEFTune = float32(*a)
	}
	if a := c.Model.MoEAuxLossCoef; a != nil { // for every micro-batch, as transformers adds it
		o.Balance = float32(*a)
	}
	tokenLoss, err := l.model.Backward(m.Batch, o)
	if err != nil {
		return nil, 0, err
	}
	var sum float64
	for i, loss := range tokenLoss {
		if m.Targets[i] >= 0 {
			sum += float64(loss) * float64(weight[i])
		}
	}
	if o.Balance > 0 {
		loss, err := l.model.BalanceLoss()
		if err != nil {
			return nil, 0, err
		}
		sum += float64(o.Balance) * loss
	}
	return tokenLoss, sum, nil
}

// dropoutSeed differs for every micro-batch of the run and depends on nothing
// else, so that a resumed run draws the same masks.
func (l *loop) dropoutSeed(index int) uint64 {
	const golden = 0x9e3779b97f4a7c15 // 2⁶⁴/φ, spreads consecutive counters
	return (l.seed+1)*golden ^ uint64(l.step)<<20 ^ uint64(index)
}

func (l *loop) zeroGradients() {
	for _, p := range l.params {
		reduce.Fill(l.device, 0, p.Grad)
	}
}
