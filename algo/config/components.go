package config

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// Component is an entry of components.yaml: a method and its parameters.
type Component struct {
	Name     string // of the method: the entry's name, or else its key
	Mode     string // "faithful" (default) or "upstream"
	Params   *Params
	Raw      string   // the parameters as one line, keys sorted: equal texts are equal components
	Position string   // of the entry
	Notes    []string // what the user should know about the file

	ownMode bool // the file sets the mode
}

// LoadComponent reads bucket.name ("selectors", "less") of a components file. If it does not
// exist, the error lists the names that do.
func LoadComponent(file, bucket, name string) (*Component, error) {
	root, err := yamlfile.Load(file)
	if err != nil {
		return nil, fmt.Errorf("components_cfg_file: %w: name the file with components_cfg_file", err)
	}
	entry, found := root.Get(bucket)
	var notes []string
	if !found && bucket == "reorders" {
		if entry, found = root.Get("reorderers"); found {
			notes = append(notes, entry.Pos.String()+": reorderers is the older spelling of reorders")
		}
	}
	if !found {
		return nil, fmt.Errorf("%s: there are no %s; the file has %s", file, bucket, keysOf(root))
	}
	if entry.Value.Kind != yamlfile.Map {
		return nil, entry.Value.Pos.Errorf("%s: expected a map of components, got %s", bucket, entry.Value.Describe())
	}
	e, found := entry.Value.Get(name)
	if !found {
		return nil, entry.Pos.Errorf("there is no %q among the %s%s: they are %s", name, bucket, meant(name, entry.Value), keysOf(entry.Value))
	}
	c, err := newComponent(e)
	if err != nil {
		return nil, err
	}
	c.Notes = notes
	return c, nil
}

func newComponent(e yamlfile.Entry) (*Component, error) {
	if e.Value.Kind != yamlfile.Map && e.Value.Kind != yamlfile.Null {
		return nil, e.Value.Pos.Errorf("%s: expected name and params, got %s", e.Key, e.Value.Describe())
	}
	c := &Component{Name: e.Key, Mode: "faithful", Position: e.Pos.String()}
	c.Params = &Params{component: e.Key, pos: e.Pos, used: map[string]bool{}, values: &yamlfile.Value{Kind: yamlfile.Map}}
	for _, f := range e.Value.Entries() {
		switch v := f.Value; f.Key {
		case "name":
			if v.Kind != yamlfile.Null {
				c.Name = v.Text
			}
		case "mode":
			if err := choose(&c.Mode, modes, v); err != nil {
				return nil, v.Pos.Errorf("mode: %w", err)
			}
			c.ownMode = true
		case "params":
			switch v.Kind {
			case yamlfile.Map:
				c.Params.values = v
			case yamlfile.Null:
			default:
				return nil, v.Pos.Errorf("params: expected a map, got %s", v.Describe())
			}
		default:
			return nil, f.Pos.Errorf("unknown key %q in component %s: the keys are name, mode and params; parameters belong under params", f.Key, e.Key)
		}
	}
	if m, ok := c.Params.values.Get("mode"); ok {
		c.Params.used["mode"] = true
		if err := choose(&c.Mode, modes, m.Value); err != nil {
			return nil, m.Value.Pos.Errorf("mode: %w", err)
		}
		c.ownMode = true
	}
	c.Raw = oneLine(c.Params.values)
	return c, nil
}

// Texts lists the texts among the parameters, nested ones included, except those of the keys
// in leftOut.
func (p *Params) Texts(leftOut ...string) []string {
	var out []string
	var walk func(v *yamlfile.Value)
	walk = func(v *yamlfile.Value) {
		switch v.Kind {
		case yamlfile.Map:
			for _, e := range v.Entries() {
				if !slices.Contains(leftOut, e.Key) {
					walk(e.Value)
				}
			}
		case yamlfile.List:
			for _, item := range v.Items {
				walk(item)
			}
		case yamlfile.String:
			out = append(out, v.Str)
		}
	}
	walk(p.values)
	return out
}

// Line is the parameters except those of the keys in leftOut, written as Component.Raw.
func (p *Params) Line(leftOut ...string) string {
	var parts []string
	for _, e := range p.values.Entries() {
		if !slices.Contains(leftOut, e.Key) {
			parts = append(parts, e.Key+": "+oneLine(e.Value))
		}
	}
	sort.Strings(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

var modes = []string{"faithful", "upstream"}

// oneLine writes a value canonically: keys sorted, strings quoted.
func oneLine(v *yamlfile.Value) string {
	switch v.Kind {
	case yamlfile.Map:
		var parts []string
		for _, e := range v.Entries() {
			parts = append(parts, e.Key+": "+oneLine(e.Value))
		}
		sort.Strings(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	case yamlfile.List:
		var parts []string
		for _, item := range v.Items {
			parts = append(parts, oneLine(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case yamlfile.String:
		return fmt.Sprintf("%q", v.Str)
	}
	return fmt.Sprint(v.Any())
}

func keysOf(v *yamlfile.Value) string {
	var keys []string
	for _, e := range v.Entries() {
		keys = append(keys, e.Key)
	}
	if len(keys) == 0 {
		return "nothing"
	}
	sort.Strings(keys)
	return strings.Join(keys, ", ")
}

func meant(key string, v *yamlfile.Value) string {
	var keys []string
	for _, e := range v.Entries() {
		keys = append(keys, e.Key)
	}
	if near, ok := yamlfile.Nearest(key, keys); ok {
		return fmt.Sprintf(" (did you mean %s?)", near)
	}
	return ""
}

// Params are a component's parameters. A method asks for each by name, with the default;
// asking records the name, so that Unknown can distinguish typing errors from parameters. A
// value of the wrong type is recorded for Err and the default returned.
type Params struct {
	component string
	pos       yamlfile.Position
	values    *yamlfile.Value
	used      map[string]bool
	replaced  map[string]string // texts that replace those in the file
	asked     []Asked
	under     string    // the key under which these are nested; "" at the top
	subs      []*Params // returned by Sub and Subs
	faults    faults
}

// Asked is a parameter that a method has asked for, with its default: nil where the method
// only asks whether it is given. Its name is preceded by the key under which it is nested,
// if any, and a point.
type Asked struct {
	Name    string
	Default any
}

// Asked lists the parameters that were asked for so far, each once, in that order: all that
// a method reads, for comparison with its documentation.
func (p *Params) Asked() []Asked {
	out := slices.Clone(p.asked)
	for _, s := range p.subs {
		for _, a := range s.Asked() {
			a.Name = s.under + "." + a.Name
			if !slices.ContainsFunc(out, func(b Asked) bool { return a.Name == b.Name }) {
				out = append(out, a)
			}
		}
	}
	return out
}

// ask records that a parameter is asked for.
func (p *Params) ask(key string, def any) {
	p.used[key] = true
	i := slices.IndexFunc(p.asked, func(a Asked) bool { return a.Name == key })
	switch {
	case i < 0:
		p.asked = append(p.asked, Asked{key, def})
	case p.asked[i].Default == nil:
		p.asked[i].Default = def
	}
}

// get sets target to a parameter's value, if it has one.
func (p *Params) get(key string, target any) bool {
	if text, ok := p.replaced[key]; ok {
		if s, ok := target.(*string); ok {
			*s = text
			return true
		}
	}
	e, ok := p.values.Get(key)
	if !ok || e.Value.Kind == yamlfile.Null {
		return false
	}
	if err := assign(target, e.Value); err != nil {
		p.faults.add(e.Value.Pos.Errorf("%s: %w", key, err))
		return false
	}
	return true
}

func param[T any](p *Params, key string, def T) T {
	p.ask(key, def)
	var v T
	if !p.get(key, &v) {
		return def
	}
	return v
}

// Float asks for a number.
func (p *Params) Float(key string, def float64) float64 { return param(p, key, def) }

// Int asks for an integer.
func (p *Params) Int(key string, def int) int { return param(p, key, def) }

// String asks for a string.
func (p *Params) String(key, def string) string { return param(p, key, def) }

// Bool asks for a bool.
func (p *Params) Bool(key string, def bool) bool { return param(p, key, def) }

// Floats asks for a list of numbers.
func (p *Params) Floats(key string, def []float64) []float64 { return param(p, key, def) }

// Ints asks for a list of integers.
func (p *Params) Ints(key string, def []int) []int { return param(p, key, def) }

// Strings asks for a list of strings.
func (p *Params) Strings(key string, def []string) []string { return param(p, key, def) }

// Map asks for nested parameters as plain values.
func (p *Params) Map(key string, def map[string]any) map[string]any { return param(p, key, def) }

// Sub asks for the parameters nested under a key, with their places.
func (p *Params) Sub(key string) *Params {
	s := &Params{under: key, component: p.component + ", " + key, pos: p.position(key), used: map[string]bool{}, values: &yamlfile.Value{Kind: yamlfile.Map}}
	p.ask(key, map[string]any{})
	p.subs = append(p.subs, s)
	e, ok := p.values.Get(key)
	switch {
	case ok && e.Value.Kind == yamlfile.Map:
		s.values = e.Value
	case ok && e.Value.Kind != yamlfile.Null:
		s.faults.add(e.Value.Pos.Errorf("%s: expected a map, got %s", key, e.Value.Describe()))
	}
	return s
}

// Given reports whether a parameter has a value; asking counts as use.
func (p *Params) Given(key string) bool {
	p.ask(key, nil)
	e, ok := p.values.Get(key)
	return ok && e.Value.Kind != yamlfile.Null
}

// Err returns an error for the values of the wrong type among those asked for so far.
func (p *Params) Err() error { return p.faults.err() }

// At is the place of a parameter: "file:line:column".
func (p *Params) At(key string) string { return p.position(key).String() }

func (p *Params) position(key string) yamlfile.Position {
	if e, ok := p.values.Get(key); ok {
		return e.Value.Pos
	}
	return p.pos
}

// Wrap adds the place of a parameter to an error, with the line and a caret.
func (p *Params) Wrap(key string, err error) error {
	if err == nil {
		return nil
	}
	return p.position(key).Errorf("%s: %w", key, err)
}

// Unknown returns an error for every parameter that was not asked for, with its place and
// the most similar one that was; and for those of the wrong type.
func (p *Params) Unknown() error {
	known := make([]string, 0, len(p.used))
	for k := range p.used {
		known = append(known, k)
	}
	sort.Strings(known)
	all := append(faults(nil), p.faults...)
	for _, e := range p.values.Entries() {
		if p.used[e.Key] {
			continue
		}
		hint := "the parameters are " + strings.Join(known, ", ")
		if near, ok := yamlfile.Nearest(e.Key, known); ok {
			hint = "did you mean " + near + "?"
		}
		all.add(e.Pos.Errorf("unknown parameter %q of component %s: %w", e.Key, p.component, errors.New(hint)))
	}
	return all.err()
}
