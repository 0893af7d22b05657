// Package jinja renders chat templates as transformers does: Jinja 3 in an immutable
// sandbox, with trim_blocks and lstrip_blocks, loop controls, transformers' tojson,
// raise_exception, strftime_now and generation blocks.
//
// A template is somebody else's program. It cannot reach anything but the values it is
// given, and what it may compute is bounded: steps, output, sizes, nesting. What
// the package does not know is an error, never another text.
//
// Sources: Jinja 3.1 (lexer.py, parser.py, nodes.py, filters.py, tests.py, sandbox.py),
// transformers 4.57 utils/chat_template_utils.py.
package jinja

import (
	"fmt"
	"strings"
	"time"
)

// Template is a template that was read. It may be rendered by many goroutines.
type Template struct {
	body []stmt
}

// Bounds of a rendering.
const (
	mostSteps   = 1_000_000 // nodes evaluated
	mostText    = 16 << 20  // bytes of output, or of any text or list made on the way
	mostNesting = 200       // of expressions, blocks and macro calls
	mostRange   = 100_000   // Jinja's sandbox allows as much
)

// Error is a fault of a template, or what it raised by raise_exception.
type Error struct {
	Class string // Python's: TemplateError, UndefinedError, TemplateSyntaxError, TypeError ...
	Line  int    // of the template, 0 where it is not known
	Text  string
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("chat template, line %d: %s: %s", e.Line, e.Class, e.Text)
	}
	return fmt.Sprintf("chat template: %s: %s", e.Class, e.Text)
}

// Compile reads a template.
func Compile(text string) (*Template, error) {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	text = strings.TrimSuffix(text, "\n")
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	var t Template
	err = p.guard(func() { t.body = p.statements() })
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// Span is a part of a rendered text, in bytes.
type Span struct{ From, To int }

// Options of a rendering.
type Options struct {
	Now         time.Time // what strftime_now tells
	Generations *[]Span   // where the generation blocks' texts lie; nil = not asked for
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
