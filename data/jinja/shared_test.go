package jinja

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dataflex.dev/dataflex/data/pyjson"
)

const shared = "../../../shared/data/chat-templates"

// lines of a compressed file.
func gzLines(t *testing.T, name string) (out [][]byte) {
	t.Helper()
	f, err := os.Open(filepath.Join(shared, name))
	if err != nil {
		t.Skip("../shared is not here")
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		out = append(out, append([]byte(nil), s.Bytes()...))
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return out
}

// Real templates against what transformers 4.57.6 renders of them.
func TestSharedTemplates(t *testing.T) {
	texts := map[string]string{}
	for _, line := range gzLines(t, "templates.jsonl.gz") {
		var x struct{ Name, Template string }
		if err := json.Unmarshal(line, &x); err != nil {
			t.Fatal(err)
		}
		texts[x.Name] = x.Template
	}
	raw, err := os.ReadFile(filepath.Join(shared, "conversations.json"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := pyjson.DecodeObject(raw)
	if err != nil {
		t.Fatal(err)
	}
	conversations, options, special := all.Get("conversations").(pyjson.Object), all.Get("options").(pyjson.Object), all.Get("special").(pyjson.Object)
	wrong := 0
	for _, line := range gzLines(t, "rendered.jsonl.gz") {
		c, err := pyjson.DecodeObject(line)
		if err != nil {
			t.Fatal(err)
		}
		name := c.Get("template").(string)
		tpl, err := Compile(texts[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		vars := map[string]any{
			"messages": conversations.Get(c.Get("conversation").(string)), "tools": nil, "documents": nil, "add_generation_prompt": false,
		}
		for _, more := range []pyjson.Object{special, options.Get(c.Get("options").(string)).(pyjson.Object)} {
			for _, f := range more {
				vars[f.Key] = f.Value
			}
		}
		if c.Get("tools") == true {
			vars["tools"] = options.Get("tools").(pyjson.Object).Get("tools")
		}
		var spans []Span
		got, err := tpl.Render(vars, Options{Now: time.Date(2024, 7, 26, 12, 34, 56, 0, time.UTC), Generations: &spans})
		want, rendered := c.Lookup("rendered")
		if g, ok := c.Lookup("generation"); ok && err == nil && !sameSpans(got, spans, g.([]any)) {
			t.Errorf("%s, %v, %v: generations %v, want %v", name, c.Get("conversation"), c.Get("options"), spans, g)
		}
		if e, ok := c.Lookup("error"); ok && err != nil {
			var ours *Error
			if class, _, _ := strings.Cut(e.(string), ":"); !errors.As(err, &ours) || ours.Class != class {
				t.Errorf("%s, %v, %v: %v, want %v", name, c.Get("conversation"), c.Get("options"), err, e)
			}
		}
		if rendered && (err != nil || got != want) || !rendered && err == nil {
			if wrong++; wrong < 15 {
				t.Errorf("%s, %v, %v: %v\n got %q\nwant %q %v", name, c.Get("conversation"), c.Get("options"), err, got, want, c.Get("error"))
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d differ", wrong)
	}
}

// sameSpans compares spans of bytes with ones of characters.
func sameSpans(text string, got []Span, want []any) bool {
	if len(got) != len(want) {
		return false
	}
	for i, s := range got {
		w := want[i].([]any)
		if utf8.RuneCountInString(text[:s.From]) != w[0] || utf8.RuneCountInString(text[:s.To]) != w[1] {
			return false
		}
	}
	return true
}
