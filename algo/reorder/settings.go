package reorder

import (
	"fmt"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
)

// Where scores come from.
const (
	precomputed     = "precomputed"      // a column of the data, or a file
	cachedSelection = "cached_selection" // step files written by a selector
	modelLoss       = "model_loss"       // the model's loss, when the order is made
)

// settings are a component's parameters, under upstream's names.
type settings struct {
	pattern Pattern
	dynamic bool
	index   bool // a plain list of scores is in the order of the tokenised rows, not of the file's rows
	every   int
	repeat  bool // consume_once: false
	head    bool

	source    string
	field     string
	path      string // of scores, or of step files
	metric    string
	fill      *float64 // the score of rows that a step file does not cover
	most      int      // maximum number of rows that the model scores at a time; 0 = all
	scoreSeed uint64
}

// read reads the parameters of a component; an unknown one is an error with its position.
func read(mode algo.Mode, p *config.Params) (s settings, err error) {
	if s.dynamic, err = oneOf(p, "kind", "static", "dynamic"); err != nil {
		return s, err
	}
	upstream := mode == algo.Upstream
	s.every = 1
	if s.dynamic {
		s.every, s.repeat = p.Int("reorder_every", 1), !p.Bool("consume_once", true)
		if s.every < 1 {
			return s, p.Wrap("reorder_every", fmt.Errorf("intervals are counted from 1, got %d", s.every))
		}
		way := []string{"match", "head"}
		if upstream {
			way = []string{"head", "match"}
		}
		other, err := oneOf(p, "rescore", way...)
		if err != nil {
			return s, err
		}
		if s.head = other != upstream; s.repeat && !s.head {
			return s, p.Wrap("consume_once", fmt.Errorf("rows that stay in the pool need rescore: head, which serves the front of a new order every time"))
		}
	} else if s.index, err = oneOf(p, "apply_at", "raw", "index"); err != nil {
		return s, err
	}
	if s.pattern, err = readPattern(p); err != nil {
		return s, err
	}
	s.pattern.ReverseTies = upstream
	if s.pattern.Descending, err = descending(p, s.dynamic && upstream); err != nil {
		return s, err
	}
	if err := s.readSource(p); err != nil {
		return s, err
	}
	return s, p.Unknown()
}

// oneOf reports whether a parameter has the second of its two values; the first is its default.
func oneOf(p *config.Params, key string, values ...string) (second bool, err error) {
	v := p.String(key, values[0])
	if !slices.Contains(values, v) {
		return false, p.Wrap(key, fmt.Errorf("it is %s or %s, not %q", values[0], values[1], v))
	}
	return v == values[1], nil
}

// descending is the direction given by polarity and ascending. Upstream's dynamic form starts
// with the hardest rows by default.
func descending(p *config.Params, earlier bool) (bool, error) {
	polarity := "higher_later"
	if earlier {
		polarity = "higher_earlier"
	}
	switch v := p.String("polarity", polarity); v {
	case "higher_later", "higher_is_better":
		earlier = false
	case "higher_earlier", "lower_is_better":
		earlier = true
	default:
		return false, p.Wrap("polarity", fmt.Errorf("it is higher_later (or higher_is_better) or higher_earlier (or lower_is_better), not %q", v))
	}
	return p.Bool("ascending", true) == earlier, nil
}

// readPattern reads the pattern and its parameters, which are in pattern_params or beside it.
func readPattern(p *config.Params) (Pattern, error) {
	kind := Kind(p.String("pattern", string(Sorting)))
	if !slices.Contains(Kinds, kind) {
		return Pattern{}, p.Wrap("pattern", fmt.Errorf("it is one of %v, not %q", Kinds, kind))
	}
	pattern, nested := Default(kind), p.Sub("pattern_params")
	in := func(key string) *config.Params {
		if nested.Given(key) || !p.Given(key) {
			return nested
		}
		return p
	}
	if kind == Folding || kind == Zigzag || kind == Stair || kind == Saw {
		given := false
		for _, key := range []string{"layers", "folding_layer", "zigzag_layer"} {
			if q := in(key); q.Given(key) && !given {
				pattern.Layers, given = q.Int(key, 0), true
			}
		}
	}
	if kind == Stair || kind == Saw {
		pattern.Sections, pattern.Radius = in("num_sections").Int("num_sections", pattern.Sections), in("folding_ratio").Float("folding_ratio", pattern.Radius)
	}
	if kind == Segment {
		pattern.Front, pattern.Back = in("x_pct").Float("x_pct", pattern.Front), in("y_pct").Float("y_pct", pattern.Back)
		pattern.FrontHigh, pattern.BackHigh = in("front_is_high").Bool("front_is_high", pattern.FrontHigh), in("back_is_high").Bool("back_is_high", pattern.BackHigh)
	}
	seed := p.Int("seed", 42)
	if seed < 0 {
		return pattern, p.Wrap("seed", fmt.Errorf("a seed must not be negative, got %d", seed))
	}
	pattern.Seed, pattern.Window = uint64(seed), p.Int("window_size", 0)
	if err := nested.Unknown(); err != nil {
		return pattern, err
	}
	if err := p.Err(); err != nil {
		return pattern, err
	}
	return pattern, p.Wrap("pattern", pattern.Check())
}

// readSource reads the source of the scores.
func (s *settings) readSource(p *config.Params) error {
	usual := precomputed
	if s.dynamic {
		usual = modelLoss
	}
	s.source = p.String("score_source", usual)
	q := p.Sub("score_params")
	switch s.source {
	case precomputed:
		s.field, s.path = q.String("score_field", "score"), q.String("score_path", "")
		if ext := filepath.Ext(s.path); s.path != "" && !slices.Contains([]string{".npy", ".json", ".jsonl"}, ext) {
			return q.Wrap("score_path", fmt.Errorf("%s is none of .npy, .json and .jsonl", s.path))
		}
	case cachedSelection:
		s.path, s.metric = q.String("cache_path", ""), q.String("metric_key", "loss")
		if s.path == "" {
			return p.Wrap("score_params", fmt.Errorf("cached_selection needs cache_path, a step_N.json or the folder of several"))
		}
		if q.Given("fill_value") {
			v := q.Float("fill_value", 0)
			s.fill = &v
		}
	case modelLoss:
		q.Int("batch_size", 8) // batches here are limited by tokens
		q.Int("num_workers", 2)
		seed := q.Int("seed", 42)
		if s.most = q.Int("max_samples", 0); s.most < 0 || seed < 0 {
			return p.Wrap("score_params", fmt.Errorf("max_samples and seed must not be negative, got %d and %d", s.most, seed))
		}
		s.scoreSeed = uint64(seed)
	default:
		return p.Wrap("score_source", fmt.Errorf("it is %s, %s or %s, not %q", precomputed, cachedSelection, modelLoss, s.source))
	}
	return q.Unknown()
}
