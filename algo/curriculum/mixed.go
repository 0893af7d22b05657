package curriculum

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/mixer"
)

// mixed is dynamic_mix: windows drawn from the domains by proportions, first the run's own and
// then those of a Mixer.
type mixed struct {
	method
	run     Run
	domains []algo.Domain
	mixer   algo.Mixer // nil for static_mix
	manager *mixer.Manager
	weights []float64 // of the domains in the loss, from the last mixture; nil = none
}

// newMixed makes a mixture; without a component it keeps the run's own proportions.
func newMixed(ctx context.Context, r Run, component *config.Component) (*mixed, error) {
	m := &mixed{run: r, domains: r.Domains}
	if component != nil {
		var err error
		if m.mixer, err = algo.BuildMixer(r.Run, m.domains, component); err != nil {
			return nil, err
		}
		m.method = method{any: m.mixer, component: component}
	}
	if s, ok := m.mixer.(algo.Splitter); ok {
		s.SetEval(r.MixerEval)
		m.domains = s.Domains()
	}
	c := r.Config
	var err error
	m.manager, err = mixer.NewManager(m.domains, c.Data.MixtureSampleRule, c.Data.InitMixtureProportions, r.Seed)
	if err != nil {
		return nil, c.Errorf("dataset", "%w", err)
	}
	if s, ok := m.mixer.(algo.Starter); ok {
		if err := s.SetInitial(m.manager.Initial()); err != nil {
			return nil, c.Errorf("init_mixture_proportions", "%w", err)
		}
	}
	return m, m.prepare(ctx, r)
}

// Open draws a window in the current proportions.
func (m *mixed) Open(ctx context.Context, step int) (w Window, opened bool, err error) {
	opening, update := m.run.Schedule.Opening(step)
	w.Start = step
	switch opening {
	case Continue:
		return Window{}, false, nil
	case Draw:
		w.Rows = m.manager.Snapshot(nil, m.run.Schedule.First()*m.run.Schedule.PerStep)
		err = m.run.Journal.Mixed(step, 0, m.domains, m.manager.Shares(nil), nil, 0)
	case Choose:
		w.Rows, err = m.remix(ctx, step, update)
	}
	return w, err == nil, err
}

// remix asks the mixer for new proportions and draws the next window in them.
func (m *mixed) remix(ctx context.Context, step, update int) ([]int, error) {
	started := time.Now()
	defer m.run.Journal.Phase("selecting")()
	got, err := m.mixer.Mix(ctx, algo.MixRequest{Step: step, Update: update})
	if err != nil {
		return nil, fmt.Errorf("mixture at step %d: %w", step, err)
	}
	m.weights = got.LossWeights
	rows := m.manager.Snapshot(got.Proportions, m.run.Schedule.Update*m.run.Schedule.PerStep)
	return rows, m.run.Journal.Mixed(step, update, m.domains, m.manager.Shares(got.Proportions), got.LossWeights, time.Since(started).Seconds())
}

// Weights turns the domains' weights into weights of the rows: weights for the step are used
// unchanged, weights for the window are scaled to mean 1 over the step.
func (m *mixed) Weights(ctx context.Context, s *Step) (Weights, error) {
	out := Weights{How: m.reduction(m.Reduction())}
	weights, scale := m.weights, true
	if w, ok := m.mixer.(algo.StepWeigher); ok {
		var err error
		if weights, err = w.StepWeights(ctx, s.Index, reports(s, m.manager.DomainOf)); err != nil {
			return out, fmt.Errorf("mixer %s: %w", m.component.Name, err)
		}
		scale = false
	}
	if weights == nil {
		if w, ok := m.mixer.(algo.DomainWeigher); ok && m.smooths && m.upstream() {
			out.Rows = byMicro(byDomain(s.Micros, w.DomainWeights(), m.manager.DomainOf))
		}
		return out, nil
	}
	if out.Rows = byDomain(s.Micros, weights, m.manager.DomainOf); scale {
		meanOne(out.Rows)
	}
	return out, nil
}

// byMicro gives every row the mean weight of its micro-batch's. That is what upstream's DoReMi
// comes to with label smoothing: Hugging Face's smoother returns one loss for the micro-batch,
// which is then multiplied by every row's weight and averaged.
func byMicro(rows [][]float64) [][]float64 {
	for _, row := range rows {
		var sum float64
		for _, w := range row {
			sum += w
		}
		for r := range row {
			row[r] = sum / float64(len(row))
		}
	}
	return rows
}

// Reduction is the mixer's own, if it has one.
func (m *mixed) Reduction() algo.Reduction {
	if r, ok := m.mixer.(algo.Reducer); ok {
		return r.Reduction()
	}
	return algo.TokenMean
}

// Observe passes the step, by domain, to the mixer and the journal.
func (m *mixed) Observe(ctx context.Context, s *Step) error {
	micros := reports(s, m.manager.DomainOf)
	m.run.Journal.Trained(micros)
	return m.observe(ctx, s, micros)
}

// mixedState is the content of State.
type mixedState struct {
	Method  json.RawMessage `json:"method,omitempty"`
	Mixture json.RawMessage `json:"mixture"` // the random stream from which windows are drawn
	Weights []float64       `json:"weights,omitempty"`
}

// State is the state of the mixer and of the stream, and the current weights.
func (m *mixed) State() (json.RawMessage, error) {
	s := mixedState{Weights: m.weights}
	var err error
	if s.Method, err = m.state(); err != nil {
		return nil, err
	}
	if s.Mixture, err = m.manager.State(); err != nil {
		return nil, fmt.Errorf("state of the mixture: %w", err)
	}
	return json.Marshal(s)
}

// Restore restores State.
func (m *mixed) Restore(raw json.RawMessage) error {
	if raw == nil {
		return nil
	}
	var s mixedState
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("state of the mixture: %w", err)
	}
	if err := m.restore(s.Method); err != nil {
		return err
	}
	m.weights = s.Weights
	if err := m.manager.Restore(s.Mixture); err != nil {
		return fmt.Errorf("state of the mixture: %w", err)
	}
	return nil
}

// MixedState is State of a mixture from its parts, as stored in checkpoints of version 1.
func MixedState(method, mixture json.RawMessage, weights []float64) (json.RawMessage, error) {
	return json.Marshal(mixedState{method, mixture, weights})
}
