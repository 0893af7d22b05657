package jinja

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/data/pyjson"
)

// Small templates of our own against Jinja 3.1's sandbox (tools/golden/jinja.py).
func TestRendered(t *testing.T) {
	raw, err := os.ReadFile("testdata/rendered.json")
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := pyjson.DecodeObject(raw)
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]any{}
	for _, f := range recorded.Get("variables").(pyjson.Object) {
		vars[f.Key] = f.Value
	}
	for _, c := range recorded.Get("cases").([]any) {
		c := c.(pyjson.Object)
		text := c.Get("template").(string)
		got, err := render(text, vars)
		if want, ok := c.Lookup("text"); ok && (err != nil || got != want) {
			t.Errorf("%s\n got %q %v\nwant %q", text, got, err, want)
		}
		var e *Error
		if class, ok := c.Lookup("error"); ok && (!errors.As(err, &e) || e.Class != class) {
			t.Errorf("%s: %q %v, want a %v", text, got, err, class)
		}
	}
}

func render(text string, vars map[string]any) (string, error) {
	tpl, err := Compile(text)
	if err != nil {
		return "", err
	}
	return tpl.Render(vars, Options{Now: time.Date(2024, 7, 26, 12, 34, 56, 0, time.UTC)})
}

// A hostile template ends in an error, quickly and with little memory.
func TestBounds(t *testing.T) {
	for text, class := range map[string]string{
		"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}": "RuntimeError",
		"{{ 'x' * 1000000000000 }}": "MemoryError",
		"{{ [0] * 1000000000000 }}": "MemoryError",
		"{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}":   "MemoryError",
		"{% set ns = namespace(x=[1, 2]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}":         "MemoryError",
		"{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}": "MemoryError",
		"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}":                                                            "RecursionError",
		"{{ 'aaaaaaaaaa'.replace('a', 'b' * 9000000) }}":                                                             "MemoryError",
		"{{ 'a'.ljust(999999999999) }}":                                                                              "MemoryError",
		"{{ 9 ** 999 }}":                                                                                             "OverflowError",
		strings.Repeat("(", 5000):                                                                                    "",
		"{{ " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " }}":                                  "TemplateSyntaxError",
		strings.Repeat("{% if 1 %}", 5000) + strings.Repeat("{% endif %}", 5000):                                     "TemplateSyntaxError",
		"{{ " + strings.Repeat("not ", 5000) + "1 }}":                                                                "TemplateSyntaxError",
		"{{ ''.__class__.__mro__ }}":                                                                                 "UndefinedError",
		"{% include 'x' %}":                                                                                          "TemplateSyntaxError",
		"{{ raise_exception('no') }}":                                                                                "TemplateError",
	} {
		_, err := render(text, nil)
		var e *Error
		if class == "" && err == nil {
			continue
		}
		if !errors.As(err, &e) || e.Class != class {
			t.Errorf("%.60s: %v, want a %s", text, err, class)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("{% for m in messages %}{{ m.role ~ m['content'][1:] | trim }}{% endfor %}")
	f.Add("{%- set x = namespace(a=1) -%}{% macro f(a, b=2) %}{{ a }}{% endmacro %}{{ f(*[1], **{'b': 3}) }}")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			t.Skip("long")
		}
		tpl, err := Compile(text)
		if err != nil {
			return
		}
		_, _ = tpl.Render(map[string]any{"messages": []any{pyjson.Object{{Key: "role", Value: "user"}, {Key: "content", Value: "hé"}}}}, Options{})
	})
}
