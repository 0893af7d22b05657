package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/tools/recipe"
)

// TestInit: for every method, the commands that init prints, from check to training, work on a
// user's model.
func TestInit(t *testing.T) {
	model, err := filepath.Abs(demoModel)
	if err != nil {
		t.Fatal(err)
	}
	experts := mixtureOfExperts(t)
	for _, r := range append([]recipe.Recipe{{Name: "doremi"}}, recipe.All()...) {
		if strings.HasPrefix(r.Name, "doremi_") {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			folder := model
			if r.Name == "dynamic_moe" {
				folder = experts
			}
			code, out := captured(t, &os.Stdout, []string{"init", r.Name, "--model", folder, "--template", "chatml"})
			if code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			_, next, ok := strings.Cut(out, "next:\n")
			if !ok {
				t.Fatalf("it does not say what is next:\n%s", out)
			}
			for _, line := range strings.Split(strings.TrimSpace(next), "\n") {
				typed(t, strings.TrimSpace(line), programName())
			}
		})
	}
}

// mixtureOfExperts makes a model that dynamic_moe works on.
func mixtureOfExperts(t *testing.T) string {
	t.Helper()
	clone(t)
	typed(t, "cli train data/examples/dynamic_moe.yaml", "cli")
	dir, err := filepath.Abs("saves/examples/dynamic_moe")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestInitData: a user's files are recognised by their columns, existing files are kept, and
// missing data for a method is reported.
func TestInitData(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"alpaca.json":  `[{"instruction":"a","input":"","output":"b"},{"instruction":"a","input":"","output":"b"}]`,
		"qa.csv":       "question,answer,source\na,b,c\n",
		"chat.jsonl":   `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"tools":""}`,
		"share.jsonl":  `{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}`,
		"plain.jsonl":  `{"text":"a"}`,
		"strange.json": `[{"foo":1,"bar":2}]`,
		"empty.jsonl":  "",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		want string // on stderr
	}{
		{[]string{"less"}, "several data files here: alpaca.json, chat.jsonl"},
		{[]string{"lees"}, "did you mean less?"},
		{[]string{"near", "--data", "alpaca.json"}, "name its file with --eval"},
		{[]string{"near", "--data", "chat.jsonl", "--eval", "alpaca.json"}, "chat.jsonl: `embed` makes sentence vectors"},
		{[]string{"odm", "--data", "alpaca.json"}, "name two or more"},
		{[]string{"less", "--data", "strange.json"}, "its rows have bar, foo"},
		{[]string{"less", "--data", "empty.jsonl"}, "empty.jsonl has no rows"},
		{[]string{"less", "--data", "none.jsonl"}, "none.jsonl: no such file"},
	} {
		if code, stderr := capture(t, append([]string{"init"}, c.args...)); code != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit code %d, %s", c.args, code, stderr)
		}
	}
	if left, _ := filepath.Glob("*.yaml"); left != nil {
		t.Errorf("refused, and yet there are %v", left)
	}
	if err := os.WriteFile("dataset_info.json", []byte("{\n  \"mine\": {\"file_name\": \"alpaca.json\"}\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, stderr := capture(t, []string{"init", "random", "--data", "alpaca.json,qa.csv,chat.jsonl,share.jsonl", "--eval", "plain.jsonl"})
	if code != 0 {
		t.Fatal(stderr)
	}
	var info map[string]struct {
		File       string `json:"file_name"`
		Formatting string
		Columns    map[string]string
		Tags       map[string]string
	}
	text, err := os.ReadFile("dataset_info.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &info); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(info) != 6 || info["mine"].File != "alpaca.json" || info["alpaca"].Columns != nil ||
		info["qa"].Columns["prompt"] != "question" || info["qa"].Columns["response"] != "answer" ||
		info["chat"].Tags["role_tag"] != "role" || info["chat"].Columns["tools"] != "tools" || info["share"].Tags != nil ||
		info["share"].Formatting != "sharegpt" || info["plain"].Columns["prompt"] != "text" {
		t.Errorf("%s", text)
	}
	if code, stderr = capture(t, []string{"init", "random", "--data", "qa.csv"}); code != 1 || !strings.Contains(stderr, "random.yaml already exists") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if code, stderr = capture(t, []string{"init", "random", "--data", "qa.csv", "--force"}); code != 0 {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
