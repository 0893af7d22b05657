package board

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// TestSetKey: one key changes, and every other line is unchanged.
func TestSetKey(t *testing.T) {
	const text = "# a run\nmodel_name_or_path: m  # the model\nstage: sft\n\n# data\ndataset:\n- a\n- b\ntemplate: \"x # y\"\ndefault_system: |\n  two\n  lines\nseed: 42\n"
	for _, c := range []struct{ key, value, old, new string }{
		{"model_name_or_path", "Qwen/Qwen2.5-0.5B", "model_name_or_path: m  # the model", "model_name_or_path: Qwen/Qwen2.5-0.5B  # the model"},
		{"dataset", "c,d", "dataset:\n- a\n- b", "dataset: c,d"},
		{"dataset", `["c","d,e"]`, "dataset:\n- a\n- b", `dataset: ["c","d,e"]`},
		{"template", "y: z", `template: "x # y"`, `template: "y: z"`},
		{"template", "no", `template: "x # y"`, `template: "no"`},
		{"default_system", "a\nb", "default_system: |\n  two\n  lines", `default_system: "a\nb"`},
		{"default_system", "", "default_system: |\n  two\n  lines\n", ""},
		{"seed", "7", "seed: 42", "seed: 7"},
		{"seed", "many", "seed: 42", "seed: many"},
		{"seed", "1 # 2\nstage: dpo", "seed: 42", `seed: "1 # 2\nstage: dpo"`},
		{"learning_rate", "2e-5", "seed: 42\n", "seed: 42\nlearning_rate: 2e-5\n"},
		{"save_strategy", "no", "seed: 42\n", "seed: 42\nsave_strategy: \"no\"\n"},
		{"bf16", "true", "seed: 42\n", "seed: 42\nbf16: true\n"},
		{"bf16", "", "", ""},
	} {
		got, err := setKey(text, c.key, c.value)
		if want := strings.Replace(text, c.old, c.new, 1); err != nil || got != want {
			t.Errorf("%s=%q: %v\n%s\nnot\n%s", c.key, c.value, err, got, want)
		}
	}
	for _, text := range []string{"{a: 1, seed: 2}", "a: &x 1\nseed: &y {b: *x}\nc: *y\n", "seed: [1"} {
		if got, err := setKey(text, "seed", "3"); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got, err := setKey("seed: 1", "stage", "pt"); err != nil || got != "seed: 1\nstage: pt\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestFaultsAtTheirFields: every fault has its key and its line in the text.
func TestFaultsAtTheirFields(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir(), Home: t.TempDir()})
	ask := func(yaml string) (out checked) {
		t.Helper()
		status, body := s.post("check", configuration{YAML: yaml})
		if status != 200 || strings.Contains(body, s.home) {
			t.Fatalf("%d %s", status, body)
		}
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := ask("stage: sftt\nlearning_rat: 1\n# a comment\nlora_rank:\n  many\nfinetuning_type: lora\ntemplate: <b>\n")
	want := []Fault{
		{"stage", 1, "string 'sftt' is not one of pt, sft"},
		{"learning_rat", 2, `unknown key "learning_rat": did you mean learning_rate?`},
		{"lora_rank", 5, "expected a whole number, got string 'many'"},
	}
	if len(out.Faults) != len(want) {
		t.Fatalf("%+v", out.Faults)
	}
	for i, w := range want {
		if f := out.Faults[i]; f.Key != w.Key || f.Line != w.Line || !strings.Contains(f.Text, w.Text) {
			t.Errorf("%+v, not %+v", f, w)
		}
	}
	if out.Values["template"] != "<b>" || out.Values["lora_rank"] != "many" {
		t.Errorf("%v", out.Values)
	}
	if out := ask("stage: sft\n  bad: indent\n"); len(out.Faults) != 1 || out.Faults[0].Line != 2 {
		t.Errorf("%+v", out.Faults)
	}
	// A key that is missing has no line, and its field all the same.
	if out := ask("stage: sft\ndo_train: true\n"); len(out.Faults) == 0 || out.Faults[0].Key == "" || out.Faults[0].Line != 0 {
		t.Errorf("%+v", out.Faults)
	}
	if out := ask("output_dir: " + filepath.Join(s.dir, "new") + "\n" + least); len(out.Faults) != 0 {
		t.Errorf("%+v", out.Faults)
	}
	status, body := s.post("start", configuration{YAML: "stage: sftt\noutput_dir: " + filepath.Join(s.dir, "new")})
	if status != 200 || strings.Contains(body, `"run"`) || !strings.Contains(body, `"key":"stage"`) || len(s.jobs) != 0 {
		t.Errorf("a faulty configuration: %d %s", status, body)
	}
}

// TestDraft: the form starts with the configuration of a run, without its secrets.
func TestDraft(t *testing.T) {
	dir := t.TempDir()
	recorded(t, "select", filepath.Join(dir, "it"))
	s := serve(t, Options{Dir: dir, Home: t.TempDir()})
	status, body := s.get("draft?from=it")
	var got configuration
	if err := json.Unmarshal([]byte(body), &got); status != 200 || err != nil {
		t.Fatal(status, err)
	}
	for _, line := range []string{"stage: sft\n", "learning_rate: 0.002\n", "dataset: add,words\n", "train_type: dynamic_select\n", "do_train: true\n", "# hf_hub_token: a secret, which is not stored\n"} {
		if !strings.Contains(got.YAML, line) {
			t.Errorf("no %q in\n%s", line, got.YAML)
		}
	}
	if status, _ := s.get("draft?from=nothing"); status != 404 {
		t.Error(status)
	}
	if status, body := s.get("draft?from="); status != 200 || !strings.Contains(body, filepath.Join(dir, "new")) {
		t.Errorf("%d %s", status, body)
	}
}
