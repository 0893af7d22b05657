package checkpoint

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/data/tokenizer/regex"
)

// The modules that have an adapter, with rank and alpha, are determined as in PEFT 0.18
// (tuners/tuners_utils.py check_target_module_exists, utils/other.py get_pattern_key).
// Modules are given by their paths in the model: model.layers.0.self_attn.q_proj.

// pattern is an entry of rank_pattern or alpha_pattern.
type pattern struct {
	key   matcher
	value float64
}

// patterns reads rank_pattern or alpha_pattern. PEFT writes their keys in order and uses the
// first that matches.
func (f *fields) patterns(key string) []pattern {
	object := value[map[string]any](f, key, "an object", nil)
	var out []pattern
	for _, name := range slices.Sorted(maps.Keys(object)) {
		one := &fields{path: f.path, raw: map[string]any{key + "." + name: object[name]}}
		v := one.float(key+"."+name, 0)
		if one.err != nil && f.err == nil {
			f.err = one.err
		}
		if key == "rank_pattern" && (v < 1 || v != math.Trunc(v)) {
			f.fail("%s gives %s the rank %v, want an integer of at least 1", key, name, v)
		}
		out = append(out, pattern{f.regexp(key, `(.*\.)?(`+name+`)`), v})
	}
	return out
}

// matcher reports whether an expression matches a whole text.
type matcher interface{ MatchString(text string) bool }

// backtracking is an expression with Python's lookaround, which package regexp does not
// have.
type backtracking struct{ *regex.Regexp }

func (b backtracking) MatchString(text string) bool { return b.Match(text, 0) >= 0 }

// regexp compiles an expression that must match a whole path.
func (f *fields) regexp(key, text string) matcher {
	r, err := regexp.Compile(`^(?:` + text + `)$`)
	if err == nil {
		return r
	}
	if b, other := regex.Compile(`(?:` + text + `)\z`); other == nil {
		return backtracking{b}
	}
	f.fail("%s: %v", key, err)
	return regexp.MustCompile(`$^`)
}

// names reads a key whose value is a list of names, or one string.
func (f *fields) names(key string) (list []string, one string) {
	if s, ok := f.raw[key].(string); ok {
		return nil, s
	}
	return f.strings(key), ""
}

// targets is the content of target_modules and of the keys that narrow it down.
type targets struct {
	pattern        matcher // target_modules, if it is one string
	exclude        []string
	excludePattern matcher
	layers         []int
	layersGiven    bool
	layerPatterns  []*regexp.Regexp // layers_pattern: the first group is the number of a layer
}

// anyLayer finds a module's layer if layers_pattern is not given.
var anyLayer = regexp.MustCompile(`^.*\.[^.]*\.(\d+)\.`)

func (f *fields) targets(c *AdapterConfig) targets {
	var t targets
	if c.Targets, c.TargetPattern = f.names("target_modules"); c.TargetPattern != "" && c.TargetPattern != allLinear {
		t.pattern = f.regexp("target_modules", c.TargetPattern)
	} else if c.TargetPattern == "" && len(c.Targets) == 0 && len(c.TargetParameters) == 0 {
		f.fail("target_modules is missing or empty")
	}
	var exclude string
	if t.exclude, exclude = f.names("exclude_modules"); exclude != "" {
		t.excludePattern = f.regexp("exclude_modules", exclude)
	}
	switch f.raw["layers_to_transform"].(type) {
	case nil:
	case []any:
		t.layers = f.ints("layers_to_transform")
		t.layersGiven = len(t.layers) > 0
	default:
		t.layers, t.layersGiven = []int{f.int("layers_to_transform", 0)}, true
	}
	list, one := f.names("layers_pattern")
	if one != "" {
		list = []string{one}
	}
	for _, p := range list {
		r, err := regexp.Compile(`^.*\.(?:` + p + `)\.(\d+)\.`)
		if err != nil {
			f.fail("layers_pattern: %v", err)
			continue
		}
		t.layerPatterns = append(t.layerPatterns, r)
	}
	if t.layersGiven && c.TargetPattern != "" {
		f.fail("layers_to_transform is set, but target_modules is one expression: PEFT takes no layers then")
	}
	return t
}

// allLinear is the value of target_modules that means every linear layer except the head.
const allLinear = "all-linear"

// Adapts reports whether a module has an adapter. linear is true if the module is a linear
// layer other than the head, which matters for "all-linear".
func (c *AdapterConfig) Adapts(module string, linear bool) bool {
	t := &c.targets
	switch {
	case t.excludePattern != nil && t.excludePattern.MatchString(module),
		slices.ContainsFunc(t.exclude, func(n string) bool { return endsIn(module, n) }),
		slices.ContainsFunc(c.ModulesToSave, func(n string) bool { return Inside(module, n) }):
		return false
	case c.TargetPattern == allLinear:
		return linear
	case t.pattern != nil:
		return t.pattern.MatchString(module)
	case !slices.ContainsFunc(c.Targets, func(n string) bool { return endsIn(module, n) }):
		return false
	}
	return !t.layersGiven || slices.Contains(t.layers, t.layer(module))
}

// layer is the number of a module's layer, -1 if it has none.
func (t *targets) layer(module string) int {
	patterns := t.layerPatterns
	if len(patterns) == 0 {
		patterns = []*regexp.Regexp{anyLayer}
	}
	for _, p := range patterns {
		if m := p.FindStringSubmatch(module); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return -1
			}
			return n
		}
	}
	return -1
}

// endsIn reports whether name is the path or its last components.
func endsIn(path, name string) bool { return path == name || strings.HasSuffix(path, "."+name) }

// Inside reports whether name, one of modules_to_save, names the module or one that contains
// it, so that PEFT does not put an adapter on it.
func Inside(path, name string) bool {
	return path == name || strings.HasSuffix(path, "."+name) || strings.HasPrefix(path, name+".") || strings.Contains(path, "."+name+".")
}

// RankOf is the rank of a module's adapter.
func (c *AdapterConfig) RankOf(module string) int {
	return int(valueOf(c.ranks, module, float64(c.Rank)))
}

// ScaleOf is the factor of B·A of a module: alpha/r, or alpha/√r with rslora.
func (c *AdapterConfig) ScaleOf(module string) float64 {
	alpha, rank := valueOf(c.alphas, module, c.Alpha), float64(c.RankOf(module))
	if c.RSLoRA {
		return alpha / math.Sqrt(rank)
	}
	return alpha / rank
}

func valueOf(patterns []pattern, module string, otherwise float64) float64 {
	for _, p := range patterns {
		if p.key.MatchString(module) {
			return p.value
		}
	}
	return otherwise
}

// TargetText is target_modules in messages.
func (c *AdapterConfig) TargetText() string {
	if c.TargetPattern != "" {
		return fmt.Sprintf("%q", c.TargetPattern)
	}
	return fmt.Sprintf("%q", c.Targets)
}
