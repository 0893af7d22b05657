// Package mixer holds the methods of dynamic_mix and the Manager that turns their
// proportions into rows. Importing it registers the methods.
//
// The calls that a training loop makes beyond algo.Mixer, where the mixer has the method:
//
//	SetInitial  once, after building: the run's init_mixture_proportions
//	SetEval     once, after building: the run's mixer_eval_dataset, by domain
//	Domains     once, after SetEval: the rows that may be trained on (see algo.Splitter)
//	OutputDir   once, before the first step (algo.Writer)
//	Restore     when a checkpoint is continued (algo.Stateful)
//	StepWeights before the backward pass of every optimizer step (algo.StepWeigher)
//	Observe     after every optimizer step (algo.Observer)
//	Finish      after the last step (algo.Finisher)
package mixer

import (
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo"
)

// uniform returns equal shares for k domains.
func uniform(k int) []float64 {
	p := make([]float64, k)
	for i := range p {
		p[i] = 1 / float64(k)
	}
	return p
}

// Normalised returns p scaled to sum to 1.
func Normalised(p []float64) []float64 {
	out := make([]float64, len(p))
	t := total(p)
	for i := range p {
		out[i] = p[i] / t
	}
	return out
}

func total(p []float64) (sum float64) {
	for _, x := range p {
		sum += x
	}
	return sum
}

// proportions checks a user's values, one share >= 0 for each of k domains and not all 0, and
// scales them to sum to 1.
func proportions(p []float64, k int) ([]float64, error) {
	if len(p) != k {
		return nil, fmt.Errorf("%d shares for %d domains", len(p), k)
	}
	for _, x := range p {
		if !(x >= 0) || math.IsInf(x, 1) {
			return nil, fmt.Errorf("a share must be a number >= 0, not %v", x)
		}
	}
	if total(p) == 0 {
		return nil, fmt.Errorf("the shares must not all be 0")
	}
	return Normalised(p), nil
}

func names(domains []algo.Domain) []any {
	out := make([]any, len(domains))
	for i, d := range domains {
		out[i] = d.Name
	}
	return out
}

// tally is a sum over the tokens of each domain, and the number of tokens.
type tally struct {
	sum    []float64
	tokens []int
}

func newTally(k int) tally { return tally{make([]float64, k), make([]int, k)} }

// add adds value(token) of every token with a target to its row's domain. A row with a value
// that is NaN or Inf is left out and named in the log.
func (t tally) add(run *algo.Run, m algo.MicroReport, value func(token int) float64) {
	for i, row := range m.Rows {
		var sum float64
		for at := m.RowStart[i]; at < m.RowStart[i+1]; at++ {
			if m.Targets[at] >= 0 {
				sum += value(int(at))
			}
		}
		if math.IsNaN(sum) || math.IsInf(sum, 0) {
			id := run.Train[row].ID
			run.Log.Warn("a row's loss is not finite: it is left out of its domain", "dataset", id.Dataset, "row", id.Row)
			continue
		}
		t.sum[m.Domain[i]] += sum
		t.tokens[m.Domain[i]] += m.Labelled[i]
	}
}

// mean returns the mean over domain d's tokens; ok is false if it has none.
func (t tally) mean(d int) (mean float64, ok bool) {
	if t.tokens[d] == 0 {
		return 0, false
	}
	return t.sum[d] / float64(t.tokens[d]), true
}
