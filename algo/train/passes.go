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

func clearGradients(dev driver.Device, params []*tensor.Param) {
	for _, p := range params {
		reduce.Fill(dev, 0, p.Grad)
	}
}

// brokenGradients finds the rows that make a step's gradient NaN or Inf although the losses
// are finite, by computing the gradient of each.
func (p *passes) brokenGradients(ctx context.Context, s *curriculum.Step, weights [][]float32, smoothing float32) (*notFinite, error) {
	var found []rowAt
	err := func() error {
		for i, m := range s.Micros {
			for r, row := range m.Rows {
				if !p.lanes.own(s.Ranks[i]) {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				alone := batch.Pack(p.rows, []int{row})
				alone.PadLen = m.PadLen
				weight := [][]float32{weights[i][m.RowStart[r]:m.RowStart[r+1]]}
				ok, err := p.lanes.alone(func() error {
					_, _, err := p.backward([]batch.Micro{alone}, weight, smoothing, p.dropoutSeed(s.Index, i))
					return err
				})
				if err != nil {
					return fmt.Errorf("step %d, %s: %w", s.Index+1, p.describe([]int{row}), err)
				}
				if !ok {
					found = append(found, rowAt{i, r})
				}
			}
		}
		return nil
	}()
	all, err := p.lanes.rows(ctx, "rows whose gradient is not finite", found, err)
	if err != nil {
		return nil, err
	}
	broken := &notFinite{what: "gradient"}
	for _, at := range all {
		broken.rows = append(broken.rows, s.Micros[at.Micro].Rows[at.Row])
	}
	return broken, nil
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
