// Package jinja renders chat templates as transformers does: Jinja 3 in an immutable
// sandbox, with trim_blocks and lstrip_blocks, loop controls, transformers' tojson,
// raise_exception, strftime_now and generation blocks.
//
// A template is untrusted code. It can reach nothing but the values it is given, and what it
// may compute is bounded: steps, output, sizes, nesting. Whatever the package does not
// implement is an error, never a different text.
//
// Sources: Jinja 3.1 (lexer.py, parser.py, nodes.py, filters.py, tests.py, sandbox.py),
// transformers 4.57 utils/chat_template_utils.py.
package jinja

import (
	"fmt"
	"strings"
	"time"
)

// Template is a compiled template, safe for concurrent use.
type Template struct {
	body []stmt
}

// Bounds of a rendering.
const (
	mostSteps   = 1_000_000 // nodes evaluated
	mostText    = 16 << 20  // bytes of output, or of any intermediate text or list
	mostNesting = 200       // of expressions, blocks and macro calls
	mostRange   = 100_000   // as in Jinja's sandbox
)

// Error is a fault of a template, or an error that it raised with raise_exception.
type Error struct {
	Class string // Python's: TemplateError, UndefinedError, TemplateSyntaxError, TypeError ...
	Line  int    // of the template, 0 where unknown
	Text  string
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("chat template, line %d: %s: %s", e.Line, e.Class, e.Text)
	}
	return fmt.Sprintf("chat template: %s: %s", e.Class, e.Text)
}

// Compile parses a template.
func Compile(text string) (*Template, error) {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	text = strings.TrimSuffix(text, "\n")
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	var t Template
	err = p.guard(func() { t.body = p.scope() })
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// Span is a part of a rendered text, in bytes.
type Span struct{ From, To int }

// Options of a rendering.
type Options struct {
	Now         time.Time // the time that strftime_now shows
	Generations *[]Span   // where the texts of generation blocks are; nil = not wanted
}

// Render renders the template with variables: nil, bool, int, int64, float64, string,
// []any, map[string]any and data/pyjson's ordered objects, nested as JSON is.
func (t *Template) Render(variables map[string]any, o Options) (string, error) {
	r := &renderer{options: o, out: new(strings.Builder)}
	top := &scope{vars: map[string]any{}}
	for name, v := range variables {
		top.vars[name] = fromGo(v)
	}
	err := r.guard(func() { r.run(t.body, top) })
	if err != nil {
		return "", err
	}
	return r.out.String(), nil
}
