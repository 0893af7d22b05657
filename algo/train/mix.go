package train

import (
	"context"
	"fmt"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/mixer"
	"dataflex.dev/dataflex/algo/report"
)

// mixture is what dynamic_mix adds to a run.
type mixture struct {
	domains []algo.Domain
	mixer   algo.Mixer // nil with static_mix
	manager *mixer.Manager
	weights []float64 // of the domains in the loss, from the last mixture; nil = none
}

// newMixer builds the mixture of a dynamic_mix run.
func (t *Trainer) newMixer(d *Data) error {
	c := t.Config
	m := &mixture{domains: d.Domains}
	if !c.Dynamic.StaticMix {
		var err error
		if t.component, err = c.Component(); err != nil {
			return err
		}
		if m.mixer, err = algo.BuildMixer(t.run, m.domains, t.component); err != nil {
			return err
		}
	}
	if s, ok := m.mixer.(mixer.Splitter); ok {
		s.SetEval(d.MixerEval)
		m.domains = s.Domains()
	}
	var err error
	m.manager, err = mixer.NewManager(m.domains, c.Data.MixtureSampleRule, c.Data.InitMixtureProportions, t.run.Seed)
	if err != nil {
		return c.Errorf("dataset", "%w", err)
	}
	if s, ok := m.mixer.(mixer.Starter); ok {
		if err := s.SetInitial(m.manager.Initial()); err != nil {
			return c.Errorf("init_mixture_proportions", "%w", err)
		}
	}
	t.mix = m
	return nil
}

// openMixture draws the first window from the run's own proportions.
func (t *Trainer) openMixture() ([]int, error) {
	steps := t.Plan.Warmup
	if t.Config.Dynamic.StaticMix {
		steps = t.Plan.Total
	}
	shares := t.mix.manager.Shares(nil)
	return t.mix.manager.Snapshot(nil, steps*t.Plan.Batch()), t.recorder.page.Mixture(t.step, 0, t.mix.domains, shares, nil)
}

// remix asks the mixer for new proportions and draws the next window from them.
func (t *Trainer) remix(ctx context.Context, update int) ([]int, error) {
	started := time.Now()
	defer t.recorder.page.Phase("selecting")()
	got, err := t.mix.mixer.Mix(ctx, algo.MixRequest{Step: t.step, Update: update})
	if err != nil {
		return nil, fmt.Errorf("mixture at step %d: %w", t.step, err)
	}
	t.mix.weights = got.LossWeights
	shares := t.mix.manager.Shares(got.Proportions)
	indices := t.mix.manager.Snapshot(got.Proportions, t.Plan.Update*t.Plan.Batch())
	args := []any{"step", t.step, "mixer", t.component.Name, "mode", t.component.Mode, "runtime", report.Round(time.Since(started).Seconds(), 4)}
	for i, d := range t.mix.domains {
		args = append(args, d.Name, report.Round(shares[i], 4))
	}
	t.log.Info("mixture", args...)
	return indices, t.recorder.page.Mixture(t.step, update, t.mix.domains, shares, got.LossWeights)
}

// mixes reports whether the run decides on the shares of domains.
func mixes(c *config.Config) bool { return c.Dynamic.TrainType == config.DynamicMix }
