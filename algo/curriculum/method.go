package curriculum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/display"
	"dataflex.dev/dataflex/model/checkpoint"
)

// method is a selector, mixer or weighter, and the component that configures it. It calls the
// optional interfaces of algo that the method implements.
type method struct {
	any
	component *config.Component
	identity  string // cached
	smooths   bool   // label_smoothing_factor is set
}

// reduction returns the method's own reduction, unless the run smooths labels in mode upstream:
// Hugging Face's code for that does not normalise by the step's number of tokens.
func (m *method) reduction(own algo.Reduction) algo.Reduction {
	if m.smooths && m.upstream() && own != algo.RowSum {
		return algo.MicroSum
	}
	return own
}

// upstream reports whether the method runs in mode upstream.
func (m *method) upstream() bool {
	return m.component != nil && algo.Mode(m.component.Mode) == algo.Upstream
}

// prepare readies the method for its first step: it loads the questions that the method needs
// and sets the folder of its files.
func (m *method) prepare(ctx context.Context, r Run) error {
	m.smooths = r.Config.Training.LabelSmoothingFactor > 0
	if w, ok := m.any.(algo.Writer); ok && r.Ranks.First() {
		w.OutputDir(r.Config.Training.OutputDir)
	}
	if n, ok := m.any.(algo.QuestionNeeder); ok && n.NeedsQuestions() {
		return r.Ask(ctx, m.component.Name)
	}
	return nil
}

// observe passes the step to the method if it is an algo.Observer.
func (m *method) observe(ctx context.Context, s *Step, reports []algo.MicroReport) error {
	if o, ok := m.any.(algo.Observer); ok {
		if err := o.Observe(ctx, s.Index, reports); err != nil {
			return fmt.Errorf("%s: %w", m.component.Name, err)
		}
	}
	return nil
}

func (m *method) state() (json.RawMessage, error) {
	s, ok := m.any.(algo.Stateful)
	if !ok {
		return nil, nil
	}
	raw, err := s.State()
	if err != nil {
		return nil, fmt.Errorf("state of %s: %w", m.component.Name, err)
	}
	return raw, nil
}

func (m *method) restore(raw json.RawMessage) error {
	s, ok := m.any.(algo.Stateful)
	if !ok || raw == nil {
		return nil
	}
	if err := s.Restore(raw); err != nil {
		return fmt.Errorf("state of %s: %w", m.component.Name, err)
	}
	return nil
}

// Memory returns the device memory that the method holds, in bytes.
func (m *method) Memory() uint64 {
	if u, ok := m.any.(algo.MemoryUser); ok {
		return u.MemoryBytes()
	}
	return 0
}

// Cost is the cost of one of the method's selections; ok is false where it is unknown.
func (m *method) Cost() (cost algo.Cost, ok bool) {
	c, ok := m.any.(algo.Coster)
	if ok {
		cost = c.Cost()
	}
	return cost, ok
}

// Finish lets the method write its files.
func (m *method) Finish() error {
	if f, ok := m.any.(algo.Finisher); ok {
		return f.Finish()
	}
	return nil
}

// Identity is the method's name, mode and parameters, except cache_dir, with the content of the
// files and folders that they name.
func (m *method) Identity() (string, error) {
	if m.component == nil || m.identity != "" {
		return m.identity, nil
	}
	const place = "cache_dir"
	p := m.component.Params
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", m.component.Name, m.component.Mode, p.Line(place))
	for _, text := range p.Texts(place) {
		if text == "" {
			continue
		}
		sum, err := checkpoint.Content(text)
		switch {
		case err == nil:
			fmt.Fprintf(&b, " %s", sum)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid):
			return "", fmt.Errorf("identity of the run: %w", err)
		}
	}
	m.identity = display.Mask(b.String()) // it is stored in files; changing the key of the same judge does not make another method
	return m.identity, nil
}

// reports is an observer's view of a step; domain is the domain of a row, nil for none.
func reports(s *Step, domain func(row int) int) []algo.MicroReport {
	out := make([]algo.MicroReport, len(s.Micros))
	for i, m := range s.Micros {
		out[i].Micro = m
		if s.TokenLoss != nil {
			out[i].TokenLoss, out[i].Returned = s.TokenLoss[i], s.Returned[i]
		}
		if domain == nil {
			continue
		}
		for _, row := range m.Rows {
			out[i].Domain = append(out[i].Domain, domain(row))
		}
	}
	return out
}
