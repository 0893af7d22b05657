package template

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dataflex.dev/dataflex/data"
)

// rendered is a case of templates_rendered.json.
type rendered struct {
	Template string
	Case     string
	System   string
	Tools    string
	Turns    []struct{ Role, Content string }
	Elements [][2][]map[string]string
	Final    bool `json:"final_eos_appended"`
	Error    string
	Thinking json.RawMessage `json:"enable_thinking"`
}

// template returns the case's template under its options.
func (c *rendered) template(t *testing.T) *Template {
	t.Helper()
	tmpl, err := Get(c.Template)
	if err != nil {
		t.Fatal(err)
	}
	if c.Thinking != nil {
		var o Options
		if err := json.Unmarshal(c.Thinking, &o.EnableThinking); err != nil {
			t.Fatal(err)
		}
		if tmpl, err = tmpl.With(o); err != nil {
			t.Fatal(err)
		}
	}
	return tmpl
}

func (c *rendered) messages() []data.Message {
	var messages []data.Message
	for _, turn := range c.Turns {
		messages = append(messages, data.Message{Role: data.Role(turn.Role), Content: turn.Content})
	}
	return messages
}

// elements brings e into the form of the cases.
func elements(e []Element) []map[string]string {
	out := []map[string]string{}
	for _, x := range e {
		switch {
		case x.Special != "":
			out = append(out, map[string]string{"special": x.Special})
		case x.Token != "":
			out = append(out, map[string]string{"token": x.Token})
		default:
			out = append(out, map[string]string{"text": x.Text})
		}
	}
	return out
}

// check renders c and reports whether the result is upstream's.
func (c *rendered) check(t *testing.T) bool {
	t.Helper()
	tmpl := c.template(t)
	turns, err := tmpl.Render(c.messages(), c.System, c.Tools)
	if c.Error != "" {
		if err == nil {
			t.Errorf("%s/%s: no error; upstream has %s", c.Template, c.Case, c.Error)
		}
		return err != nil
	}
	if err != nil {
		t.Errorf("%s/%s: %v", c.Template, c.Case, err)
		return false
	}
	var got [][2][]map[string]string
	for _, turn := range turns {
		got = append(got, [2][]map[string]string{elements(turn.Source), elements(turn.Target)})
	}
	if diff := cmp.Diff(c.Elements, got); diff != "" {
		t.Errorf("%s/%s: -want +got\n%s", c.Template, c.Case, diff)
		return false
	}
	if tmpl.EfficientEOS() != c.Final {
		t.Errorf("%s/%s: final eos %v, want %v", c.Template, c.Case, tmpl.EfficientEOS(), c.Final)
		return false
	}
	return true
}

func readLines[T any](t *testing.T, path string) []T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []T
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func TestRendered(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "946684800") // 01 Jan 2000, the date in the cases
	cases := readLines[rendered](t, "testdata/rendered.jsonl")
	if len(cases) < 100 {
		t.Fatalf("only %d cases", len(cases))
	}
	for i := range cases {
		cases[i].check(t)
	}
}

// upstreamTest is a line of upstream.jsonl: what upstream's own
// tests assert.
type upstreamTest struct {
	Test     string
	Template string
	Args     struct {
		EnableThinking json.RawMessage `json:"enable_thinking"`
	}
	Mode     string
	Messages []struct{ Role, Content string }
	Segments []string
}

func TestUpstreamTests(t *testing.T) {
	for _, u := range readLines[upstreamTest](t, "testdata/upstream.jsonl") {
		c := rendered{Template: u.Template, Thinking: u.Args.EnableThinking, Turns: u.Messages}
		tmpl := c.template(t)
		turns, err := tmpl.Render(c.messages(), "", "")
		if u.Mode == "oneturn" {
			turns = make([]Turn, 1)
			turns[0], err = tmpl.RenderOne(c.messages(), "", "")
		}
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, turn := range turns {
			got = append(got, flat(turn.Source), flat(turn.Target))
		}
		if diff := cmp.Diff(u.Segments, got); diff != "" {
			t.Errorf("%s: %s: -want +got\n%s", u.Template, u.Test, diff)
		}
	}
}

// flat joins elements the way a Llama 3 tokenizer prints them.
func flat(e []Element) string {
	var b strings.Builder
	for _, x := range e {
		switch x.Special {
		case "bos":
			b.WriteString("<|begin_of_text|>")
		default:
			b.WriteString(x.Text + x.Token)
		}
	}
	return b.String()
}

// formatterTest is a line of formatters.jsonl.
type formatterTest struct {
	Test, Cls string
	Ctor      struct {
		Slots      []string
		ToolFormat string `json:"tool_format"`
	}
	Args     struct{ Content string }
	Expected []string
}

func TestUpstreamFormatters(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "946684800")
	for _, f := range readLines[formatterTest](t, "testdata/formatters.jsonl") {
		tmpl, err := Get("empty")
		if err != nil {
			t.Fatal(err)
		}
		if tmpl, err = tmpl.With(Options{ToolFormat: f.Ctor.ToolFormat}); err != nil {
			t.Fatal(err)
		}
		var got string
		want := strings.ReplaceAll(f.Expected[0], "{{DATE}}", "01 Jan 2000")
		if f.Cls == "ToolFormatter" {
			got, err = tmpl.toolText(f.Args.Content)
		} else {
			got, err = tmpl.functionText(f.Args.Content)
			got = strings.Replace(f.Ctor.Slots[0], "{{content}}", got, 1)
		}
		if err != nil || got != want {
			t.Errorf("%s: (%v)\n got %q\nwant %q", f.Test, err, got, want)
		}
	}
}
