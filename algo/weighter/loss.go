package weighter

import (
	"context"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
)

func init() { algo.RegisterWeighter("loss", newLoss) }

// loss weighs rows by their loss: Dynamic Loss-Based Sample Reweighting for Improved
// Large Language Model Pretraining (Sow et al., ICLR 2025). With the losses of a
// group of rows scaled to x in [-δ, δ],
//
//	linupper   f = min(x + δ, δ)   full weight from the middle up
//	quadratic  f = 1 - x²/δ²       the middle
//	extremes   f = |x|             both ends
//	uniform    f = 0               no weighting: the baseline
//	w ∝ exp(f/r)
//
// faithful: the group is the whole optimizer step, accumulation included; the weights have mean
// 1 and the loss stays normalised by tokens. r follows a schedule: initial_r at the first step,
// r from step r_steps on (0: at the last), and r_schedule (constant, linear, cosine) in
// between. A large initial_r starts close to uniform. Rows whose loss is not finite have weight
// 0 and are named in the log.
//
// upstream: the group is a micro-batch, uniform is f = x, r is 1, and the loss is the weighted
// sum of the rows' mean losses, divided by the number of micro-batches.
type loss struct {
	run      *algo.Run
	mode     algo.Mode
	strategy string
	delta    float64
	r, from  float64
	schedule string
	steps    int
}

func newLoss(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Weighter, error) {
	w := &loss{run: run, mode: mode, strategy: p.String("strategy", "linupper"), delta: p.Float("delta", 1), r: 1, from: 1, schedule: "constant"}
	if mode == algo.Faithful {
		w.r = p.Float("r", 1)
		w.from = p.Float("initial_r", w.r)
		if p.Given("initial_r") {
			w.schedule = "linear"
		}
		w.schedule = p.String("r_schedule", w.schedule)
		w.steps = p.Int("r_steps", 0)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	switch {
	case w.strategy != "linupper" && w.strategy != "uniform" && w.strategy != "quadratic" && w.strategy != "extremes":
		return nil, p.Wrap("strategy", fmt.Errorf("strategy is linupper, uniform, quadratic or extremes, not %q", w.strategy))
	case !(w.delta > 0):
		return nil, p.Wrap("delta", fmt.Errorf("delta must be positive, not %v", w.delta))
	case !(w.r > 0):
		return nil, p.Wrap("r", fmt.Errorf("r must be positive, not %v", w.r))
	case !(w.from > 0):
		return nil, p.Wrap("initial_r", fmt.Errorf("r must be positive, not %v", w.from))
	case w.schedule != "constant" && w.schedule != "linear" && w.schedule != "cosine":
		return nil, p.Wrap("r_schedule", fmt.Errorf("r_schedule is constant, linear or cosine, not %q", w.schedule))
	case w.schedule == "constant" && w.from != w.r:
		return nil, p.Wrap("initial_r", fmt.Errorf("with r_schedule constant r does not change: leave initial_r out, or set r_schedule to linear or cosine"))
	case w.steps < 0:
		return nil, p.Wrap("r_steps", fmt.Errorf("a number of steps, not %d", w.steps))
	}
	return w, nil
}

// Weigh applies f over the step, or over each micro-batch.
func (w *loss) Weigh(_ context.Context, r algo.WeightRequest) ([][]float64, algo.Reduction, error) {
	nameBroken(w.run.Log, w.run.Train, r)
	if w.mode == algo.Upstream {
		return w.perMicroBatch(r), algo.RowSum, nil
	}
	if w.strategy == "uniform" {
		return scaled(r, ones(r)), algo.TokenMean, nil
	}
	var all []float64
	for i, m := range r.Micros {
		for j := range m.Rows {
			if m.Labelled[j] > 0 && finite(r.Loss[i][j]) {
				all = append(all, r.Loss[i][j])
			}
		}
	}
	share := w.softmax(all, w.temperature(r))
	out := perMicro(r)
	for i, m := range r.Micros {
		for j := range m.Rows {
			if m.Labelled[j] > 0 && finite(r.Loss[i][j]) {
				out[i][j], share = share[0], share[1:]
			}
		}
	}
	return scaled(r, out), algo.TokenMean, nil
}

// perMicroBatch is upstream's: the weights of every micro-batch sum to 1, divided by the number
// of micro-batches.
func (w *loss) perMicroBatch(r algo.WeightRequest) [][]float64 {
	out := perMicro(r)
	for i, m := range r.Micros {
		var losses []float64
		var at []int
		for j := range m.Rows {
			if l := lossOf(r, i, j); finite(l) {
				losses, at = append(losses, l), append(at, j)
			}
		}
		for k, share := range w.softmax(losses, 1) {
			out[i][at[k]] = share / float64(len(r.Micros))
		}
	}
	return out
}

// temperature is r at a step.
func (w *loss) temperature(q algo.WeightRequest) float64 {
	steps := w.steps
	if steps == 0 {
		steps = q.Total
	}
	if w.schedule == "constant" || steps <= 1 {
		return w.r
	}
	x := min(float64(q.Step)/float64(steps-1), 1)
	if w.schedule == "cosine" {
		x = (1 - math.Cos(math.Pi*x)) / 2
	}
	return w.from + (w.r-w.from)*x
}

// softmax is the weights of a group of losses, which sum to 1.
func (w *loss) softmax(losses []float64, r float64) []float64 {
	if len(losses) == 0 {
		return nil
	}
	lowest, highest := losses[0], losses[0]
	for _, l := range losses {
		lowest, highest = min(lowest, l), max(highest, l)
	}
	f := make([]float64, len(losses))
	top := math.Inf(-1)
	for i, l := range losses {
		x := w.delta * (2*l - highest - lowest) / max(highest-lowest, 1e-6)
		f[i] = w.preference(x) / r
		top = max(top, f[i])
	}
	var sum float64
	for i := range f {
		f[i] = math.Exp(f[i] - top)
		sum += f[i]
	}
	for i := range f {
		f[i] /= sum
	}
	return f
}

// preference is f(x). uniform is only used in mode upstream.
func (w *loss) preference(x float64) float64 {
	switch w.strategy {
	case "linupper":
		return min(x+w.delta, w.delta)
	case "quadratic":
		return 1 - x*x/(w.delta*w.delta)
	case "extremes":
		return math.Abs(x)
	}
	return x
}
