package predict

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

const demoModel = "../../tools/dataflex-demo/model"

func demo(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(demoModel)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestRows: which rows are answered, their prompts and labels, and the warnings about the
// others.
func TestRows(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("dataset_info.json", `{"a": {"file_name": "a.jsonl"}, "b": {"file_name": "b.jsonl"},
		"c": {"file_name": "c.jsonl", "formatting": "sharegpt"}}`)
	write("a.jsonl", `{"instruction": "one", "input": "", "output": "1"}
{"instruction": "three", "input": "x", "output": ""}
`)
	write("c.jsonl", `{"conversations": [{"from": "human", "value": "q"}, {"from": "human", "value": "q again"}]}`+"\n")
	write("b.jsonl", `{"instruction": "four", "output": "a long answer that is far longer than the prompt"}`+"\n")
	tok := demo(t)
	tmpl, err := template.Get("default")
	if err != nil {
		t.Fatal(err)
	}
	tmpl.FixTokenizer(tok)
	read := func(keys ...string) ([]string, []string, error) {
		c, err := config.LoadGenerate("", append([]string{"model_name_or_path=" + demoModel, "dataset_dir=" + dir}, keys...))
		if err != nil {
			t.Fatal(err)
		}
		rows, warnings, err := Rows(context.Background(), c, Templated(tok, tmpl, c.Data.CutoffLen))
		var out []string
		for _, r := range rows {
			a := NewAnswer(tok, r, r.Label, true)
			out = append(out, strings.NewReplacer("<|im_end|>", "", "<|endoftext|>", "").Replace(a.Prompt)+"|"+a.Label)
		}
		return out, warnings, err
	}
	for keys, want := range map[string][]string{
		"dataset=a,c":                       {"Human: one\nAssistant:|1\n", "Human: three\nx\nAssistant:|\n"},
		"dataset=b eval_dataset=a":          {"Human: one\nAssistant:|1\n", "Human: three\nx\nAssistant:|\n"},
		"eval_dataset=b,a max_samples=1":    {"Human: four\nAssistant:|a long answer that is far longer than the prompt\n", "Human: one\nAssistant:|1\n"},
		"dataset=a,b val_size=1e-9 top_k=0": {"Human: one\nAssistant:|1\n", "Human: three\nx\nAssistant:|\n", "Human: four\nAssistant:|a long answer that is far longer than the prompt\n"},
	} {
		got, _, err := read(strings.Fields(keys)...)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", keys, got, err)
		}
	}
	if _, warnings, _ := read("dataset=a,c"); len(warnings) != 1 || !strings.Contains(warnings[0], "dataset c: dropped 1 row: ") {
		t.Errorf("warnings %q", warnings)
	}
	if _, _, err := read("dataset=c"); err == nil || !strings.Contains(err.Error(), "dataset: there is no row to answer: 1 were read") {
		t.Errorf("got %v", err)
	}
	if _, _, err := read("dataset=nowhere"); err == nil || !strings.Contains(err.Error(), "dataset: ") {
		t.Errorf("got %v", err)
	}
}
