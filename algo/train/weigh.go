package train

import (
	"context"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/mixer"
)

// tokenWeights is the factor of every token's loss in the loss of a step, micro-
// batch by micro-batch: by default 1/N with N the labels of the whole step.
func (t *Trainer) tokenWeights(ctx context.Context, micros []batch.Micro, labels int) ([][]float32, error) {
	rows := uniformRows(micros)
	how := algo.TokenMean
	var err error
	switch {
	case t.weighter != nil && t.step >= t.Config.Dynamic.WarmupStep:
		rows, how, err = t.weigh(ctx, micros)
	case t.mix != nil:
		rows, err = t.domainWeights(ctx, micros, rows)
	}
	if err != nil {
		return nil, err
	}
	t.byColumn(micros, rows)
	out := make([][]float32, len(micros))
	for i, m := range micros {
		out[i] = make([]float32, len(m.Tokens))
		for r, n := range m.Labelled {
			scale := rows[i][r] / float64(labels)
			switch {
			case how == algo.RowSum:
				scale = rows[i][r] / float64(n)
			case t.meanOfMicro():
				scale = t.microMean(m, len(micros)) * rows[i][r]
			}
			for k := m.RowStart[r]; k < m.RowStart[r+1]; k++ {
				if m.Targets[k] >= 0 {
					out[i][k] = float32(scale)
				}
			}
		}
	}
	return out, nil
}

// byColumn multiplies the weights of a step's rows with those of their weight column,
// scaled to mean 1 over the step.
func (t *Trainer) byColumn(micros []batch.Micro, rows [][]float64) {
	sum, n, given := t.columnWeight(micros)
	if !given {
		return
	}
	for i, m := range micros {
		for r, row := range m.Rows {
			rows[i][r] *= t.train[row].Weight() * float64(n) / sum
		}
	}
}

// columnWeight adds up the weights that the rows of a step have by their column; given
// says whether one has.
func (t *Trainer) columnWeight(micros []batch.Micro) (sum float64, n int, given bool) {
	for _, m := range micros {
		for _, row := range m.Rows {
			sum += t.train[row].Weight()
			given = given || t.train[row].Given
			n++
		}
	}
	return sum, n, given
}

// recordColumn puts what a weight column made of a step's rows into the report. A
// weighter's own weights are there already.
func (t *Trainer) recordColumn(g *gradient) {
	if _, _, given := t.columnWeight(g.micros); !given || t.weighter != nil {
		return
	}
	rows, loss := uniformRows(g.micros), make([][]float64, len(g.micros))
	t.byColumn(g.micros, rows)
	for i, m := range g.micros {
		var ok []bool
		loss[i], ok = m.RowMeans(g.tokenLoss[i])
		for r := range loss[i] {
			if !ok[r] {
				loss[i][r] = math.NaN()
			}
		}
	}
	t.recorder.page.Weigh(t.step+1, g.micros, rows, loss, t.train)
}

// meanOfMicro says whether a micro-batch's loss is its own mean over the tokens
// that are predicted. That is so on Hugging Face's path for label smoothing, and
// in upstream's DoReMi, which drops the count of the whole step.
func (t *Trainer) meanOfMicro() bool {
	return t.Config.Training.LabelSmoothingFactor > 0 || t.upstreamDoReMi()
}

func (t *Trainer) upstreamDoReMi() bool {
	return t.mix != nil && t.mix.mixer != nil && t.component.Name == "doremi" && algo.Mode(t.component.Mode) == algo.Upstream
}

// microMean is 1 over the predicted tokens of a micro-batch. Label smoothing
// upstream is not divided by the number of micro-batches; DoReMi is here, where
// upstream forgets to (finding 54).
func (t *Trainer) microMean(m batch.Micro, micros int) float64 {
	n := 0
	for _, l := range m.Labelled {
		n += l
	}
	if t.Config.Training.LabelSmoothingFactor > 0 {
		micros = 1
	}
	return 1 / float64(max(n, 1)*micros)
}

func uniformRows(micros []batch.Micro) [][]float64 {
	out := make([][]float64, len(micros))
	for i, m := range micros {
		out[i] = make([]float64, len(m.Rows))
		for r := range out[i] {
			out[i][r] = 1
		}
	}
	return out
}

// weigh asks the weighter: it sees the loss of every row of the step first.
func (t *Trainer) weigh(ctx context.Context, micros []batch.Micro) ([][]float64, algo.Reduction, error) {
	q := algo.WeightRequest{Step: t.step, Total: t.Plan.Total, Micros: micros}
	broken := &notFinite{what: "loss"}
	for _, m := range micros {
		tokenLoss, err := t.model.Losses(m.Batch, 0)
		if err != nil {
			return nil, 0, err
		}
		mean, ok := m.RowMeans(tokenLoss)
		for r := range mean {
			if !ok[r] {
				mean[r] = math.NaN()
			}
		}
		q.Loss = append(q.Loss, mean)
		broken.add(m, tokenLoss)
	}
	if len(broken.rows) > 0 {
		return nil, 0, broken
	}
	rows, how, err := t.weighter.Weigh(ctx, q)
	if err != nil {
		return nil, 0, fmt.Errorf("weighter %s: %w", t.component.Name, err)
	}
	t.recorder.page.Weigh(t.step+1, micros, rows, q.Loss, t.train)
	return rows, how, nil
}

// domainWeights are a mixer's weights of the domains as weights of the rows: those
// of the step as they are, those of the window scaled to mean 1 over the step.
func (t *Trainer) domainWeights(ctx context.Context, micros []batch.Micro, rows [][]float64) ([][]float64, error) {
	weights, scale := t.mix.weights, true
	if w, ok := t.mix.mixer.(mixer.StepWeigher); ok {
		var err error
		if weights, err = w.StepWeights(ctx, t.step, t.reports(micros, nil, nil)); err != nil {
			return nil, fmt.Errorf("mixer %s: %w", t.component.Name, err)
		}
		scale = false
	}
	if weights == nil {
		return rows, nil
	}
	var sum float64
	n := 0
	for i, m := range micros {
		for r, row := range m.Rows {
			rows[i][r] = weights[t.mix.manager.DomainOf(row)]
			sum += rows[i][r]
			n++
		}
	}
	for i := range rows {
		for r := range rows[i] {
			if scale && sum > 0 {
				rows[i][r] *= float64(n) / sum
			}
		}
	}
	return rows, nil
}

// reports is what an observer is told of a step's micro-batches.
func (t *Trainer) reports(micros []batch.Micro, tokenLoss [][]float32, returned []float64) []algo.MicroReport {
	out := make([]algo.MicroReport, len(micros))
	for i, m := range micros {
		out[i].Micro = m
		if tokenLoss != nil {
			out[i].TokenLoss, out[i].Returned = tokenLoss[i], returned[i]
		}
		if t.mix == nil {
			continue
		}
		for _, row := range m.Rows {
			out[i].Domain = append(out[i].Domain, t.mix.manager.DomainOf(row))
		}
	}
	return out
}

// method is the run's deciding method under its optional interfaces: a selector,
// a mixer or a weighter; nil in a static run.
func (t *Trainer) method() any {
	switch {
	case t.selector != nil:
		return t.selector
	case t.mix != nil && t.mix.mixer != nil:
		return t.mix.mixer
	case t.weighter != nil:
		return t.weighter
	}
	return nil
}

func (t *Trainer) newWeighter() error {
	var err error
	if t.component, err = t.Config.Component(); err != nil {
		return err
	}
	t.weighter, err = algo.BuildWeighter(t.run, t.component)
	return err
}

func weighs(c *config.Config) bool { return c.Dynamic.TrainType == config.DynamicWeight }
