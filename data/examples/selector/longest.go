package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
)

func init() { algo.RegisterSelector("longest", newLongest) }

// longest picks the rows with the most labelled tokens, continuing down the list with every
// update:
//
//	selectors:
//	  longest: {params: {at_least: 4}}
type longest struct {
	rows   []int     // the longest first
	labels []float64 // by row
}

// newLongest reads the parameters. One that it does not read, or one of the wrong type, is
// refused with its position in the file.
func newLongest(run *algo.Run, _ algo.Mode, p *config.Params) (algo.Selector, error) {
	least := p.Int("at_least", 1)
	if err := p.Err(); err != nil {
		return nil, err
	}
	if least < 0 {
		return nil, p.Wrap("at_least", fmt.Errorf("must not be negative, got %d", least))
	}
	s := &longest{labels: make([]float64, len(run.Train))}
	for i, row := range run.Train {
		for _, label := range row.Labels {
			if label >= 0 { // the others are not learnt
				s.labels[i]++
			}
		}
		if s.labels[i] >= float64(least) {
			s.rows = append(s.rows, i)
		}
	}
	if len(s.rows) == 0 && !run.Outline { // check constructs a selector without rows
		return nil, p.Wrap("at_least", fmt.Errorf("no row has %d labelled tokens", least))
	}
	slices.SortStableFunc(s.rows, func(a, b int) int { return cmp.Compare(s.labels[b], s.labels[a]) })
	return s, nil
}

// Select takes the next rows; their label counts appear as scores in the report.
func (s *longest) Select(_ context.Context, r algo.Request) (algo.Selection, error) {
	var sel algo.Selection
	var labels []float64
	for i := range r.N {
		row := s.rows[((r.Update-1)*r.N+i)%len(s.rows)]
		sel.Indices = append(sel.Indices, row)
		labels = append(labels, s.labels[row])
	}
	sel.Metric, sel.Score = map[string][]float64{"labels": labels}, s.labels
	return sel, nil
}
