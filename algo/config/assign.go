package config

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"

	"dataflex.dev/dataflex/data/yamlfile"
)

// defaults are the table's default values, parsed as YAML.
var defaults = sync.OnceValue(func() *yamlfile.Value {
	var b strings.Builder
	for _, k := range table {
		fmt.Fprintf(&b, "%s: %s\n", k.Name, k.Default)
	}
	v, err := yamlfile.Parse("defaults", []byte(b.String()))
	if err != nil {
		panic("config: " + err.Error())
	}
	return v
})

// assignAll sets the defaults, then the given values.
func (c *Config) assignAll(f *faults) {
	for _, k := range table {
		if k.bind == nil || k.Default == "null" {
			continue
		}
		e, _ := defaults().Get(k.Name)
		if err := assign(k.bind(c), e.Value); err != nil {
			panic("config: default of " + k.Name + ": " + err.Error())
		}
	}
	if err := otherFile(c.root); err != nil {
		f.add(err)
		return
	}
	for _, e := range c.root.Entries() {
		if len(*f) == mostFaults {
			f.add(e.Pos.Errorf("there are already %d faults: the rest of the file was not checked", mostFaults))
			return
		}
		k, ok := lookup(e.Key)
		switch {
		case !ok && extraAllowed():
			c.notice(e, "is unknown and has no effect (ALLOW_EXTRA_ARGS is set)")
		case !ok:
			f.add(unknown(e))
		case k.Status == Honoured:
			if err := c.assignKey(k, e.Value); err != nil {
				f.add(e.Value.Pos.Errorf("%s: %w", k.Name, err))
			}
		case isDefault(k, e.Value):
		case k.Unmet:
			c.unmet = append(c.unmet, fmt.Sprintf("%s: %s is not done: %s", e.Value.Pos, e.Key, k.Note))
		case k.Status == Ignored:
			c.notice(e, "has no effect here: "+k.Note)
		default:
			f.add(e.Value.Pos.Errorf("%s: %s", k.Name, k.Note))
		}
	}
}

// extraAllowed is upstream's variable for accepting unknown keys.
func extraAllowed() bool {
	switch strings.ToLower(os.Getenv("ALLOW_EXTRA_ARGS")) {
	case "1", "true", "y":
		return true
	}
	return false
}

func (c *Config) notice(e yamlfile.Entry, text string) {
	c.notices = append(c.notices, fmt.Sprintf("%s: %s %s", e.Value.Pos, e.Key, text))
}

// isDefault reports whether a value has no effect: null, false, "" or the default.
func isDefault(k Key, v *yamlfile.Value) bool {
	if v.Kind == yamlfile.Null || v.Kind == yamlfile.Bool && !v.Bool && k.Default != "true" || v.Kind == yamlfile.String && v.Str == "" {
		return true
	}
	d, _ := defaults().Get(k.Name)
	if x, ok := v.Number(); ok {
		y, ok := d.Value.Number()
		return ok && x == y
	}
	return v.Kind != yamlfile.List && v.Kind != yamlfile.Map && strings.EqualFold(v.Text, d.Value.Text)
}

func (c *Config) assignKey(k Key, v *yamlfile.Value) error {
	target := k.bind(c)
	if v.Kind == yamlfile.Null { // the default, or nil where that is a value
		switch p := target.(type) {
		case **bool:
			*p = nil
		case **string:
			*p = nil
		}
		return nil
	}
	if k.Choices != nil {
		return choose(target.(*string), k.Choices, v)
	}
	return assign(target, v)
}

// choose sets one of the allowed words. An unquoted no is false to YAML 1.1.
func choose(p *string, choices []string, v *yamlfile.Value) error {
	word := v.Text
	if v.Kind == yamlfile.Bool && !v.Bool {
		word = No
	}
	for _, c := range choices {
		if word == c {
			*p = c
			return nil
		}
	}
	return fmt.Errorf("%s is not one of %s", v.Describe(), strings.Join(choices, ", "))
}

// assign converts a value to the type of target. An int is a float; a whole float is an int;
// a quoted number or bool is one; any scalar is a string as it was written.
func assign(target any, v *yamlfile.Value) error {
	switch p := target.(type) {
	case *string:
		return toString(p, v)
	case **string:
		*p = new(string)
		return toString(*p, v)
	case *bool:
		return toBool(p, v)
	case **bool:
		*p = new(bool)
		return toBool(*p, v)
	case *int:
		i, err := toInt(v)
		*p = int(i)
		return err
	case **int:
		i, err := toInt(v)
		n := int(i)
		*p = &n
		return err
	case *int64:
		i, err := toInt(v)
		*p = i
		return err
	case **int64:
		i, err := toInt(v)
		*p = &i
		return err
	case *float64:
		x, err := toFloat(v)
		*p = x
		return err
	case **float64:
		x, err := toFloat(v)
		*p = &x
		return err
	case *[]string:
		return toList(p, v)
	case *[]int:
		return toInts(p, v)
	case *[]float64:
		return toFloats(p, v)
	case *map[string]any:
		return toMap(p, v)
	case **yamlfile.Value:
		*p = v
		return nil
	case *Resume:
		return toResume(p, v)
	case *TokensSeen:
		return toTokensSeen(p, v)
	}
	panic(fmt.Sprintf("config: no rule for %T", target))
}

func isScalar(v *yamlfile.Value) bool {
	return v.Kind != yamlfile.List && v.Kind != yamlfile.Map && v.Kind != yamlfile.Null
}

func toString(p *string, v *yamlfile.Value) error {
	if !isScalar(v) {
		return fmt.Errorf("expected a string, got %s", v.Describe())
	}
	*p = v.Text
	return nil
}

// unquote reads a quoted scalar as if it were plain.
func unquote(v *yamlfile.Value) *yamlfile.Value {
	if v.Kind != yamlfile.String || strings.ContainsAny(v.Str, "\n:#{}[],&*!|>'\"%@`") {
		return v
	}
	doc, err := yamlfile.Parse("", []byte("k: "+v.Str+"\n"))
	if err != nil {
		return v
	}
	e, _ := doc.Get("k")
	return e.Value
}

func toBool(p *bool, v *yamlfile.Value) error {
	u := unquote(v)
	if i, ok := u.Int64(); ok && (i == 0 || i == 1) {
		*p = i == 1
		return nil
	}
	if u.Kind != yamlfile.Bool {
		return fmt.Errorf("expected true or false, got %s", v.Describe())
	}
	*p = u.Bool
	return nil
}

func toInt(v *yamlfile.Value) (int64, error) {
	u := unquote(v)
	if i, ok := u.Int64(); ok {
		return i, nil
	}
	if u.Kind == yamlfile.Float && u.Float == math.Trunc(u.Float) && math.Abs(u.Float) < 1<<53 {
		return int64(u.Float), nil
	}
	return 0, fmt.Errorf("expected a whole number, got %s", v.Describe())
}

func toFloat(v *yamlfile.Value) (float64, error) {
	x, ok := unquote(v).Number()
	if !ok || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("expected a number, got %s", v.Describe())
	}
	return x, nil
}

// items returns the entries of a list, or of a string with commas.
func items(v *yamlfile.Value) ([]*yamlfile.Value, error) {
	if v.Kind == yamlfile.List {
		for _, item := range v.Items {
			if !isScalar(item) {
				return nil, fmt.Errorf("expected words, got %s in the list", item.Describe())
			}
		}
		return v.Items, nil
	}
	if !isScalar(v) {
		return nil, fmt.Errorf("expected a list, or words separated by commas, got %s", v.Describe())
	}
	var out []*yamlfile.Value
	for part := range strings.SplitSeq(v.Text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, &yamlfile.Value{Kind: yamlfile.String, Str: part, Text: part, Pos: v.Pos})
		}
	}
	return out, nil
}

func toList(p *[]string, v *yamlfile.Value) error {
	list, err := items(v)
	*p = nil
	for _, item := range list {
		*p = append(*p, item.Text)
	}
	return err
}

func toFloats(p *[]float64, v *yamlfile.Value) error {
	list, err := items(v)
	*p = nil
	for _, item := range list {
		x, err := toFloat(item)
		if err != nil {
			return err
		}
		*p = append(*p, x)
	}
	return err
}

func toInts(p *[]int, v *yamlfile.Value) error {
	list, err := items(v)
	*p = nil
	for _, item := range list {
		i, err := toInt(item)
		if err != nil {
			return err
		}
		*p = append(*p, int(i))
	}
	return err
}

// toMap reads a map, or a string of JSON as upstream does.
func toMap(p *map[string]any, v *yamlfile.Value) error {
	if v.Kind == yamlfile.String {
		if err := json.Unmarshal([]byte(v.Str), p); err != nil {
			return fmt.Errorf("expected a map, or one as JSON, got %s", v.Describe())
		}
		return nil
	}
	if v.Kind != yamlfile.Map {
		return fmt.Errorf("expected a map, got %s", v.Describe())
	}
	*p = v.Any().(map[string]any)
	return nil
}

func toResume(p *Resume, v *yamlfile.Value) error {
	if !isScalar(v) {
		return fmt.Errorf("expected true, false or a checkpoint's folder, got %s", v.Describe())
	}
	*p = Resume{Given: true}
	if u := unquote(v); u.Kind == yamlfile.Bool {
		p.Latest = u.Bool
		return nil
	}
	if v.Text == "" {
		return fmt.Errorf("expected true, false or a checkpoint's folder, got an empty string")
	}
	p.Path = v.Text
	return nil
}

func toTokensSeen(p *TokensSeen, v *yamlfile.Value) error {
	switch s := TokensSeen(v.Text); {
	case v.Kind == yamlfile.Bool && v.Bool:
		*p = CountAll
	case v.Kind == yamlfile.Bool:
		*p = CountNone
	case s == CountAll || s == CountNonPadding || s == CountNone:
		*p = s
	default:
		return fmt.Errorf("expected true, false, all, non_padding or no, got %q", v.Text)
	}
	return nil
}
