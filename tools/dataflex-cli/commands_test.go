package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/tokenizer"
)

const demoModel = "../dataflex-demo/model"

func TestTokenize(t *testing.T) {
	tok, err := tokenizer.Load(demoModel)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{"Hello, world", "<|im_end|>", "", "ünïcödé \n\t\"quoted\" <b> 你好"}
	var in bytes.Buffer
	e := json.NewEncoder(&in)
	for _, s := range texts {
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
	}
	var ids bytes.Buffer
	if err := eachLine(strings.NewReader(strings.TrimSuffix(in.String(), "\n")), &ids, encodeLine(tok, false)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(ids.String(), "\n"), "\n")
	if len(lines) != len(texts) {
		t.Fatalf("%d lines for %d texts", len(lines), len(texts))
	}
	for i, s := range texts {
		var got []int32
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil || !slices.Equal(got, tok.Encode(s)) {
			t.Errorf("%q: %s, %v", s, lines[i], err)
		}
	}
	for special, want := range map[bool]string{true: "\"Hello, world\"\n\"<|im_end|>\"\n\"\"\n", false: "\"Hello, world\"\n\"\"\n\"\"\n"} {
		var back bytes.Buffer
		if err := eachLine(bytes.NewReader(ids.Bytes()), &back, decodeLine(tok, special)); err != nil || !strings.HasPrefix(back.String(), want) {
			t.Errorf("special %v: %s, %v", special, back.String(), err)
		}
		if !strings.HasSuffix(back.String(), "\"ünïcödé \\n\\t\\\"quoted\\\" <b> 你好\"\n") {
			t.Error(back.String())
		}
	}
	for in, want := range map[string]string{
		"\"a\"\nb\n": "standard input, line 2: a JSON string is expected",
		"null\n":     "standard input, line 1: a JSON string is expected",
		"[1]\n":      "standard input, line 1: a JSON string is expected",
		"\n\"a\"\n":  "standard input, line 1: a JSON string is expected",
	} {
		if err := eachLine(strings.NewReader(in), io.Discard, encodeLine(tok, true)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
	if err := eachLine(strings.NewReader("\"a\"\n"), io.Discard, decodeLine(tok, true)); err == nil || !strings.Contains(err.Error(), "a JSON array of token ids is expected") {
		t.Error(err)
	}
}

func TestSchema(t *testing.T) {
	var b bytes.Buffer
	if err := writeSchema(&b); err != nil {
		t.Fatal(err)
	}
	var s struct {
		Schema     string `json:"$schema"`
		Type       string
		Additional *bool `json:"additionalProperties"`
		Properties map[string]struct {
			Type        []string
			AnyOf       []any `json:"anyOf"`
			Enum        []any
			Default     any
			Description string
			Deprecated  bool
		}
	}
	if err := json.Unmarshal(b.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Schema != "https://json-schema.org/draft/2020-12/schema" || s.Type != "object" || s.Additional == nil || *s.Additional || len(s.Properties) != len(config.Keys()) {
		t.Errorf("%s %s %v, %d properties", s.Schema, s.Type, s.Additional, len(s.Properties))
	}
	for name, p := range s.Properties {
		if p.Description == "" {
			t.Errorf("%s has no description", name)
		}
	}
	stage, rate, target, save := s.Properties["stage"], s.Properties["learning_rate"], s.Properties["lora_target"], s.Properties["save_strategy"]
	if !slices.Contains(stage.Enum, any("sft")) || stage.Default != "sft" {
		t.Errorf("stage %+v", stage)
	}
	if rate.Default != 5e-5 || !slices.Contains(rate.Type, "number") {
		t.Errorf("learning_rate %+v", rate)
	}
	if len(target.AnyOf) != 2 || target.Default != "all" {
		t.Errorf("lora_target %+v", target)
	}
	if !slices.Contains(save.Enum, any(false)) { // an unquoted no
		t.Errorf("save_strategy %+v", save)
	}
	if p := s.Properties["ddp_backend"]; !p.Deprecated || !strings.HasPrefix(p.Description, "No effect: ") {
		t.Errorf("ddp_backend %+v", p)
	}
	if p := s.Properties["export_quantization_bit"]; !p.Deprecated || !slices.Equal(p.Enum, []any{nil, false}) {
		t.Errorf("export_quantization_bit %+v", p)
	}
}

// checkFolder is a valid configuration for the demo's model.
func checkFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	model, err := filepath.Abs(demoModel)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"c.yaml": "model_name_or_path: " + model + "\nstage: sft\ndo_train: true\ndataset: good\ndataset_dir: " + dir + "\ntemplate: chatml\n" +
			"output_dir: " + dir + "/out\ncutoff_len: 64\nddp_backend: gloo\n",
		"dataset_info.json": `{"good":{"file_name":"good.json"},"odd":{"file_name":"good.json","colums":{}},"none":{"file_name":"none.json"},
			"lacks":{"file_name":"good.json","columns":{"prompt":"text"}},"broken":{"file_name":"broken.jsonl"}}`,
		"good.json":       `[{"instruction":"a","input":"","output":"b"},{"instruction":"a","input":"","output":null}]`,
		"none.json":       `[{"instruction":"a","input":"","output":null}]`,
		"broken.jsonl":    "{\"instruction\":\"a\",\"input\":\"\",\"output\":\"b\"}\n{\"instruction\":",
		"components.yaml": "selectors:\n  less: {name: less}\n  mine: {name: lees}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A valid configuration has no fault; each invalid one has all of its faults, each with its
// position.
func TestCheck(t *testing.T) {
	dir := checkFolder(t)
	file := filepath.Join(dir, "c.yaml")
	components := "components_cfg_file=" + filepath.Join(dir, "components.yaml")
	select2 := []string{"train_type=dynamic_select", "warmup_step=1", "update_step=1", components}
	for _, c := range []struct {
		overrides []string
		faults    []string
		said      string
	}{
		{nil, nil, "c.yaml:9:14: ddp_backend has no effect here"},
		{nil, nil, "among the first 2 rows: dataset good: dropped 1 row: no answer"},
		{[]string{"dataset=odd"}, nil, "colums is not a known key and is ignored; did you mean columns?"},
		{[]string{"dataset=lacks,broken,nowhere", "eval_dataset=none"}, []string{
			"override 'dataset=lacks,broken,nowhere': dataset: dataset lacks", "column 'text' is missing",
			"broken.jsonl", "the file is cut off here", "Undefined dataset nowhere", "override 'eval_dataset=none': eval_dataset: none of the first rows can be used",
		}, ""},
		{[]string{"template=chatm", "dataset=nowhere"}, []string{"override 'template=chatm': template:", "did you mean chatml", "Undefined dataset nowhere"}, ""},
		{[]string{"model_name_or_path=/nowhere", "dataset=nowhere"}, []string{"override 'model_name_or_path=/nowhere': model_name_or_path: there is no folder /nowhere", "Undefined dataset nowhere"}, ""},
		{[]string{"learning_rat=1", "stages=x"}, []string{"did you mean learning_rate?", "did you mean stage?"}, ""},
		{[]string{"dataset_dir=/nowhere"}, []string{"Cannot open /nowhere/dataset_info.json"}, ""},
		{[]string{"dataset_dir={good: {file_name: " + dir + "/good.json}}"}, nil, ""},
		{[]string{"adapter_name_or_path=" + dir}, []string{"adapter_name_or_path:", "not a PEFT adapter folder"}, ""},
		{[]string{"add_tokens=<new>", "resize_vocab=false"}, nil, ""},
		{[]string{"template=alpaca"}, nil, ""},
		{[]string{"train_on_prompt=true", "template=llama2_zh"}, nil, ""},
		{append(select2, "component_name=less", "eval_dataset=good"), nil, ""},
		{append(select2, "component_name=les"), []string{`there is no "les" among the selectors (did you mean less?)`}, ""},
		{append(select2, "component_name=mine"), []string{`there is no selector "lees"; there are`}, ""},
		{[]string{"do_train=null", "dataset=null", "export_dir=" + dir + "/out"}, nil, ""},
		{[]string{"do_train=null", "output_dir=null"}, nil, "checked for eval, generate and chat"},
		{[]string{"do_train=null", "output_dir=null", "dataset=nowhere"}, []string{"Undefined dataset nowhere"}, ""},
		{[]string{"do_train=null"}, []string{"there is nothing to do: set do_train: true"}, ""},
	} {
		var out bytes.Buffer
		load, err := loaderOf(file, c.overrides, &out)
		if err != nil {
			t.Fatal(err)
		}
		faults := check(context.Background(), load, file, c.overrides, &out)
		var text strings.Builder
		for _, f := range faults {
			text.WriteString(f.Error() + "\n")
		}
		if (len(faults) == 0) != (c.faults == nil) || !strings.Contains(out.String(), c.said) {
			t.Errorf("%v: faults %s\nsaid %s", c.overrides, text.String(), out.String())
		}
		for _, want := range c.faults {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%v:\n%slacks %q", c.overrides, text.String(), want)
			}
		}
	}
}

func TestEvalRefusals(t *testing.T) {
	t.Setenv("DATAFLEX_CACHE", t.TempDir())
	dir := checkFolder(t)
	file := filepath.Join(dir, "c.yaml")
	for want, err := range map[string]error{
		"there is nothing to measure":  eval(context.Background(), file, []string{"dataset=null"}, evalOptions{}),
		"--mmlu: /nowhere has no":      eval(context.Background(), file, nil, evalOptions{mmlu: "/nowhere"}),
		"--shots and --limit must not": eval(context.Background(), file, nil, evalOptions{shots: -1}),
		"override 'eval_dataset=nowhere': eval_dataset: Undefined dataset nowhere": eval(context.Background(), file, []string{"eval_dataset=nowhere"}, evalOptions{}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

// TestInterruptedInput: Ctrl-C ends a program that waits for its standard input, and earlier
// requests are answered.
func TestInterruptedInput(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	in, typed := io.Pipe()
	defer typed.Close()
	var out bytes.Buffer
	echo := func(dst, line []byte) ([]byte, error) {
		defer cancel()
		return append(dst, bytes.TrimSpace(line)...), nil
	}
	go func() { _, _ = typed.Write([]byte("\"a\"\n")) }()
	err := eachLine(untilDone(ctx, in), &out, echo)
	if !errors.Is(err, context.Canceled) || out.String() != "\"a\"\n" {
		t.Errorf("%v; answered %q", err, out.String())
	}
}

// TestCheckComponents: errors that a run would hit after tokenising are found before, by check
// and, with the same text, by train.
func TestCheckComponents(t *testing.T) {
	clone(t)
	const text = `selectors:
  near: {params: {indices_path: none.npy}}
  tsds: {params: {probs_path: none.npy}}
  pick: {name: custom, params: {command: [./nothing]}}
  judge: {name: nice, params: {reward: command, reward_command: [nothing-of-that-name]}}
  nobody: {name: nice}
  away: {name: nice, params: {reward: http, reward_url: "AWAY", reward_model: m}}
  here: {name: nice, params: {reward: http, reward_url: "HERE", reward_model: m}}
  less: {params: {proj_dims: 3}}
  cluster_less: {params: {embedding_layer: 9}}
  layer: {name: cluster_less, params: {embedding_model_name_or_path: org/none}}
  good: {name: less, params: {projection: rademacher, proj_dim: 64}}
mixers:
  doremi: {params: {reference_model_path: none}}
  moe: {name: dynamic_moe}
  odm: {params: {alpha: 7}}
weighters:
  adapt: {}
  weigh: {name: custom, params: {command: [./nothing]}}
`
	asked := ""
	judge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked += r.Method + " "
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
	}))
	defer judge.Close()
	away := httptest.NewServer(nil)
	away.Close()
	filled := strings.NewReplacer("AWAY", away.URL, "HERE", judge.URL).Replace(text)
	if err := os.WriteFile("c.yaml", []byte(filled), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("strange", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"config.json": "", "tokenizer.json": "tools/dataflex-demo/model/tokenizer.json", "model.safetensors": "tools/dataflex-demo/model/model.safetensors"} {
		text := []byte(`{"model_type":"mamba","architectures":["MambaForCausalLM"],"vocab_size":512,"hidden_size":8}`)
		if from != "" {
			var err error
			if text, err = os.ReadFile(from); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join("strange", name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	example := func(name string, more ...string) []string {
		return append([]string{"data/examples/" + name + ".yaml", "components_cfg_file=c.yaml", "output_dir=out"}, more...)
	}
	for _, c := range []struct {
		args []string
		want string // "" = no fault
	}{
		{example("near", "component_name=near"), "c.yaml:2:33: indices_path: open none.npy: no such file"},
		{example("tsds", "component_name=tsds"), "none.npy: no such file"},
		{example("custom", "component_name=pick"), "c.yaml:4:42: command: the program cannot be run"},
		{example("nice", "component_name=judge"), "nothing-of-that-name"},
		{example("nice", "component_name=nobody"), "choose how answers are judged"},
		{example("nice", "component_name=away"), "reward_url: the judge does not respond"},
		{example("nice", "component_name=here"), ""},
		{example("less"), "did you mean proj_dim?"},
		{example("cluster_less"), "hidden states 0 to 3"},
		{example("cluster_less", "component_name=layer"), "dataflex-cli download org/none"},
		{example("less", "component_name=good"), ""},
		{example("less", "component_name=good", "eval_dataset=null", "do_eval=false"), "name one with eval_dataset"},
		{example("doremi_2", "component_name=doremi"), "c.yaml:14:43: reference_model_path: there is no folder none"},
		{example("odm"), "alpha"},
		{example("odm", "component_name=moe"), "this model (llama) has none"},
		{example("weight_adapt", "eval_dataset=null", "do_eval=false"), "eval_dataset"},
		{example("weight_custom", "component_name=weigh"), "c.yaml:19:43: command: the program cannot be run"},
		{example("full", "resume_from_checkpoint=gone"), "resume_from_checkpoint: there is no folder gone, and no checkpoint in output_dir either"},
		{example("lora", "adapter_name_or_path=data"), "not a PEFT adapter folder"},
		{example("lora", "lora_target=q_prj"), "q_prj names no module of tools/dataflex-demo/model: choose all, or of down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"},
		{example("lora", "additional_target=foo"), "additional_target: foo names no module of tools/dataflex-demo/model"},
		{example("lora", "additional_target=embed_tokens,lm_head"), ""},
		{example("freeze", "freeze_trainable_modules=foo"), "module foo is not found, please choose from input_layernorm, mlp, post_attention_layernorm, self_attn"},
		{example("freeze", "freeze_extra_modules=foo"), "module foo is not found, please choose from embed_tokens, lm_head, norm"},
		{example("freeze", "freeze_trainable_modules=mlp", "freeze_extra_modules=norm"), ""},
		{example("lora", "output_dir=c.yaml/x"), "output_dir: c.yaml/x cannot be a folder: c.yaml is a file"},
		{example("lora", "tokenized_path=c.yaml"), "tokenized_path: c.yaml cannot be a folder: c.yaml is a file"},
		{example("full", "model_name_or_path=strange"), "model_type \"mamba\" ("},
	} {
		code, stderr := capture(t, append([]string{"check"}, c.args...))
		if (code == 0) != (c.want == "") || !strings.Contains(stderr, c.want) {
			t.Errorf("check %v: exit code %d\n%s", c.args, code, stderr)
		}
		if c.want == "" {
			continue
		}
		code, stderr = capture(t, append([]string{"train"}, c.args...))
		if code != 1 || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "tokenised") {
			t.Errorf("train %v: exit code %d\n%s", c.args, code, stderr)
		}
	}
	if asked != "HEAD " {
		t.Errorf("the judge was asked %q", asked)
	}
}

// TestRowTextsOfNothing: rows of which none has a column that is embedded are refused.
func TestRowTextsOfNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.jsonl")
	for text, want := range map[string]string{
		`{"content": "a"}` + "\n" + `{"content": "b"}`: "every row is empty in text",
		`{"content": "a"}` + "\n" + `{"text": "b"}`:    "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := rowTexts(file); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, wanted %q", text, err, want)
		}
	}
}
