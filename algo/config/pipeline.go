package config

import (
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// The families of a pipeline's stages.
const (
	SelectorStage = "selector"
	MixerStage    = "mixer"
	ReorderStage  = "reorder"
	WeighterStage = "weighter"
)

// Stage is an entry of a pipeline's stages: a component of components.yaml, and when and how
// it takes part.
type Stage struct {
	*Component
	Family      string
	Key         string // of the component in its part of the file
	WarmupStep  int    // optimizer steps before it takes part
	Every       int    // optimizer steps for which its decision holds, at least 1
	ScoreMaxAge int    // the age, in optimizer steps, that a shared loss may have

	// For a selector: Draw chooses the rows of an interval; otherwise it keeps KeepRatio of
	// the pool for the stages after it.
	Draw      bool
	KeepRatio float64

	AllowReplacement bool // for a mixer: rows of a domain that is too small are repeated

	params *Params
}

// Errorf returns an error about a key of the stage, with its place.
func (s *Stage) Errorf(key, format string, args ...any) error {
	return s.params.Wrap(key, fmt.Errorf(format, args...))
}

// Given reports whether a key of the stage has a value.
func (s *Stage) Given(key string) bool { return s.params.Given(key) }

// Stages reads the stages of a pipeline and the components that they name; stages that are
// not enabled are left out. A component without a mode of its own gets the pipeline's.
func (c *Config) Stages(pipeline *Component) ([]*Stage, error) {
	entries := pipeline.Params.Subs("stages")
	if err := pipeline.Params.Err(); err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, pipeline.Params.Wrap("stages", fmt.Errorf("a pipeline is a list of stages, each of a family and a component"))
	}
	var out []*Stage
	for _, p := range entries {
		s, enabled, err := c.stage(p, pipeline.Mode)
		if err != nil {
			return nil, err
		}
		if enabled {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, pipeline.Params.Wrap("stages", fmt.Errorf("every stage is disabled: enable one, or set train_type: static"))
	}
	return out, nil
}

func (c *Config) stage(p *Params, mode string) (s *Stage, enabled bool, err error) {
	s = &Stage{
		Family: p.String("family", ""), Key: p.String("component", ""), WarmupStep: p.Int("warmup_step", 0), Every: p.Int("every", 1),
		ScoreMaxAge: p.Int("score_max_age", 0), KeepRatio: 0.5, params: p,
	}
	enabled = p.Bool("enabled", true)
	families := []string{SelectorStage, MixerStage, ReorderStage, WeighterStage}
	if !slices.Contains(families, s.Family) {
		return nil, false, p.Wrap("family", fmt.Errorf("a stage's family is one of %s, not %q", strings.Join(families, ", "), s.Family))
	}
	if s.Family == SelectorStage {
		how := p.String("mode", "filter")
		if how != "filter" && how != "draw" {
			return nil, false, p.Wrap("mode", fmt.Errorf("a selector narrows the pool (filter) or takes the interval (draw), not %q", how))
		}
		s.Draw = how == "draw"
		if s.KeepRatio = p.Float("keep_ratio", s.KeepRatio); !s.Draw && !(s.KeepRatio > 0 && s.KeepRatio <= 1) {
			return nil, false, p.Wrap("keep_ratio", fmt.Errorf("it is a share above 0, at most 1, not %v", s.KeepRatio))
		}
	}
	if s.Family == MixerStage {
		s.AllowReplacement = p.Bool("allow_replacement", false)
	}
	if err := p.Unknown(); err != nil {
		return nil, false, err
	}
	s.Every = max(1, s.Every) // upstream reads 0 as 1
	if s.WarmupStep < 0 || s.ScoreMaxAge < 0 {
		return nil, false, p.Wrap("warmup_step", fmt.Errorf("warmup_step and score_max_age are not negative"))
	}
	if s.Component, err = LoadComponent(c.Dynamic.ComponentsCfgFile, s.Family+"s", s.Key); err != nil {
		return nil, false, p.Wrap("component", err)
	}
	if !s.ownMode {
		s.Mode = mode
	}
	return s, enabled, nil
}

// Subs asks for a list of nested parameters, each with its places.
func (p *Params) Subs(key string) (out []*Params) {
	p.ask(key, nil)
	e, ok := p.values.Get(key)
	if !ok || e.Value.Kind == yamlfile.Null {
		return nil
	}
	if e.Value.Kind != yamlfile.List {
		p.faults.add(e.Value.Pos.Errorf("%s: expected a list, got %s", key, e.Value.Describe()))
		return nil
	}
	for i, item := range e.Value.Items {
		if item.Kind != yamlfile.Map {
			p.faults.add(item.Pos.Errorf("%s: expected maps, got %s", key, item.Describe()))
			continue
		}
		out = append(out, &Params{under: key, component: fmt.Sprintf("%s, %s[%d]", p.component, key, i), pos: item.Pos, used: map[string]bool{}, values: item})
	}
	p.subs = append(p.subs, out...)
	return out
}

// Replace replaces the value of a text parameter.
func (p *Params) Replace(key, value string) {
	if p.replaced == nil {
		p.replaced = map[string]string{}
	}
	p.replaced[key] = value
}
