package processor

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// addedTemplate is a line that tools/golden/added_templates.py wrote. Ids are text where a token
// is a byte, else numbers.
type addedTemplate struct {
	Template                    string
	Thinking                    *bool
	Preserve                    *bool
	MaskHistory                 bool   `json:"mask_history"`
	Tokenizer                   string // a folder; "" = the toy tokenizer
	System, Tools               string
	Turns                       [][2]string
	IDs, Labels, Prompt, Answer json.RawMessage
	Error                       string
}

// spelled writes ids as the script does: a byte as itself, n ids without a label as ⟦n⟧.
func spelled(ids []int32) string {
	var out []byte
	for k := 0; k < len(ids); k++ {
		switch id := ids[k]; id {
		case data.IgnoreIndex:
			n := k
			for n < len(ids) && ids[n] == data.IgnoreIndex {
				n++
			}
			out = fmt.Appendf(out, "⟦%d⟧", n-k)
			k = n - 1
		case 1:
			out = append(out, "⟦bos⟧"...)
		case 2:
			out = append(out, "⟦eos⟧"...)
		default:
			out = append(out, byte(id))
		}
	}
	return string(out)
}

func (c *addedTemplate) check(t *testing.T, tok *tokenizer.Tokenizer) {
	t.Helper()
	tmpl, err := named(t, c.Template).With(template.Options{EnableThinking: c.Thinking, PreserveThinking: c.Preserve})
	if err != nil {
		t.Fatal(err)
	}
	if c.Tokenizer != "" {
		if tok, err = tokenizer.Load(c.Tokenizer); err != nil {
			t.Fatal(err)
		}
		tmpl.FixTokenizer(tok)
	}
	s := data.Sample{System: c.System, Tools: c.Tools}
	for _, turn := range c.Turns {
		s.Prompt = append(s.Prompt, data.Message{Role: data.Role(turn[0]), Content: turn[1]})
	}
	messages, last := s.Prompt, len(s.Prompt)-1
	s.Prompt, s.Response = messages[:last:last], messages[last:]
	rows, _, err := sft(tok, tmpl, []data.Sample{s}, Options{CutoffLen: 100000, MaskHistory: c.MaskHistory})
	if c.Error != "" {
		if err == nil {
			t.Errorf("%s: no error, LLaMA-Factory: %s\nturns %q, tools %q", c.Template, c.Error, c.Turns, c.Tools)
		}
		return
	}
	one, oneErr := tmpl.EncodeOne(tok, messages, c.System, c.Tools)
	if err = cmp.Or(err, oneErr); err != nil {
		t.Errorf("%s: %v\nturns %q, tools %q", c.Template, err, c.Turns, c.Tools)
		return
	}
	for _, part := range []struct {
		name string
		got  []int32
		want json.RawMessage
	}{{"ids", rows[0].InputIDs, c.IDs}, {"labels", rows[0].Labels, c.Labels}, {"prompt", one.Source, c.Prompt}, {"answer", one.Target, c.Answer}} {
		got, want := any(part.got), any(new([]int32))
		if c.Tokenizer == "" {
			got, want = spelled(part.got), new(string)
		}
		if err := json.Unmarshal(part.want, want); err != nil {
			t.Fatal(err)
		}
		if want = reflect.ValueOf(want).Elem().Interface(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s\n got %q\nwant %q\nturns %q, system %q, tools %q", c.Template, part.name, got, want, c.Turns, c.System, c.Tools)
		}
	}
}

// The templates that LLaMA-Factory added after 0.9.4 make its ids and labels of random
// conversations, with every way of treating thoughts.
func TestAddedTemplates(t *testing.T) {
	path := cmp.Or(os.Getenv("DATAFLEX_TEMPLATES"), "testdata/added_templates.jsonl")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tok, count := toyTokenizer(t, false), map[string]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "{") {
			continue
		}
		var c addedTemplate
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		c.check(t, tok)
		count[c.Template]++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"aeva", "gemma4", "gemma4n", "glm4_7", "glm_ocr", "hunyuan_small", "hy3", "hy_dense_1_8b", "hy_dense_7b", "lfm2", "lfm2_vl",
		"minicpm_v_4_6", "minimax2", "moss_vl", "phi4_mini", "qwen3_5", "qwen3_5_nothink", "qwen3_6", "youtu", "youtu_vl",
	} {
		if count[name] == 0 {
			t.Errorf("no case of %s", name)
		}
	}
	t.Log(count)
}
