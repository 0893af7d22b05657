package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/tokenizer"
)

// TestExportNamedTemplates: a model whose chat templates have names is exported with all of
// them, twice into the same folder, and nothing is left in the current one; a template that is
// not of an earlier export is not overwritten.
func TestExportNamedTemplates(t *testing.T) {
	demo, err := filepath.Abs(demoModel)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.CopyFS("m", os.DirFS(demo)); err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load("m")
	if err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join("additional_chat_templates", "tool_use.jinja")
	for name, text := range map[string]string{filepath.Join("m", "chat_template.jinja"): tok.ChatTemplate() + "{# default #}", filepath.Join("m", tool): "{{ tools }}", "e.yaml": "model_name_or_path: m\ntemplate: qwen\nexport_dir: ex\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if code, said := capture(t, []string{"export", "e.yaml"}); code != 0 {
			t.Fatal(said)
		}
	}
	if text, err := os.ReadFile(filepath.Join("ex", tool)); err != nil || string(text) != "{{ tools }}" {
		t.Errorf("%q, %v", text, err)
	}
	if back, err := tokenizer.Load("ex"); err != nil || back.ToolTemplate() != "{{ tools }}" {
		t.Error(err)
	}
	if left, _ := filepath.Glob("*"); strings.Join(left, " ") != "e.yaml ex m" {
		t.Errorf("there are %v", left)
	}
	if err := os.WriteFile(filepath.Join("ex", tool), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, said := capture(t, []string{"export", "e.yaml"}); code != 1 || !strings.Contains(said, "contains another model (additional_chat_templates/tool_use.jinja)") {
		t.Errorf("%d %s", code, said)
	}
}
