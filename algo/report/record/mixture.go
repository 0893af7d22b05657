package record

import (
	"slices"

	"dataflex.dev/dataflex/algo"
)

// Mixture is a line about a mixture: its shares when they are decided, its losses with every
// line of the training log.
type Mixture struct {
	Step    int        `json:"step"`
	Update  int        `json:"update,omitempty"`
	Domains []string   `json:"domains"`
	Shares  []float64  `json:"shares,omitempty"`  // of the window's rows, by domain
	Weights []float64  `json:"weights,omitempty"` // in the loss, where the mixer sets any
	Losses  []*float64 `json:"losses,omitempty"`  // mean over the tokens trained on since the last line; null = none
	Tokens  []int      `json:"tokens,omitempty"`  // the number of these tokens
}

// domains adds up the losses of domains between two log lines.
type domains struct {
	names  []string
	sum    []float64
	tokens []int
}

// Mixture records the decision on a mixture.
func (w *Writer) Mixture(step, update int, all []algo.Domain, shares, lossWeights []float64) error {
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.Name
	}
	if w.domains == nil {
		w.domains = &domains{names: names, sum: make([]float64, len(names)), tokens: make([]int, len(names))}
	}
	if err := w.add(Line{Mixture: &Mixture{Step: step, Update: update, Domains: names, Shares: shares, Weights: whole(lossWeights)}}); err != nil {
		return err
	}
	for i, name := range names {
		if err := w.scalar(step, "mixture/"+name, shares[i]); err != nil {
			return err
		}
	}
	return nil
}

// whole returns x if all its numbers are finite, as JSON requires; nil otherwise.
func whole(x []float64) []float64 {
	if slices.ContainsFunc(x, func(v float64) bool { return !finite(v) }) {
		return nil
	}
	return x
}

// Domains adds an optimizer step's losses to their domains; it has no effect before the first
// mixture.
func (w *Writer) Domains(micros []algo.MicroReport) {
	if w.domains == nil {
		return
	}
	for _, m := range micros {
		for r, d := range m.Domain {
			for k := m.RowStart[r]; k < m.RowStart[r+1]; k++ {
				if m.Targets[k] >= 0 {
					w.domains.sum[d] += float64(m.TokenLoss[k])
					w.domains.tokens[d]++
				}
			}
		}
	}
}

// flushDomains writes the losses and resets the sums.
func (w *Writer) flushDomains(step int) error {
	d := w.domains
	if d == nil || slices.Max(d.tokens) == 0 {
		return nil
	}
	line := Mixture{Step: step, Domains: d.names, Losses: make([]*float64, len(d.names)), Tokens: d.tokens}
	for i, n := range d.tokens {
		if mean := d.sum[i] / float64(max(n, 1)); n > 0 && finite(mean) {
			line.Losses[i] = &mean
			if err := w.scalar(step, "mixture_loss/"+d.names[i], mean); err != nil {
				return err
			}
		}
	}
	w.domains = &domains{names: d.names, sum: make([]float64, len(d.names)), tokens: make([]int, len(d.names))}
	return w.add(Line{Mixture: &line})
}
