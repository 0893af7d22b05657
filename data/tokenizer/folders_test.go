package tokenizer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Folders whose files contradict each other or add to each other, against transformers 4.52.4
// (tools/golden/tokenizer_folders.py): also once they are saved.
func TestFolders(t *testing.T) {
	var recorded struct {
		Texts []string
		Cases []struct {
			Name          string
			Added, Post   json.RawMessage // of tokenizer.json
			Files         map[string]string
			Len           int
			IDs           [][]int32
			BOS, EOS, Pad *int32
			Chat          string
			Named         bool
			Saved         []string // the files of chat templates
		}
	}
	text, err := os.ReadFile("testdata/folders.json")
	if err == nil {
		err = json.Unmarshal(text, &recorded)
	}
	if err != nil {
		t.Fatal(err)
	}
	const demo = "../../tools/dataflex-demo/model"
	for _, c := range recorded.Cases {
		t.Run(c.Name, func(t *testing.T) {
			dir, out := t.TempDir(), t.TempDir()
			put(t, dir, "tokenizer.json", changed(t, filepath.Join(demo, "tokenizer.json"), c.Added, c.Post))
			config, err := os.ReadFile(filepath.Join(demo, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			put(t, dir, "config.json", string(config))
			for name, text := range c.Files {
				put(t, dir, name, text)
			}
			check := func(dir string) *Tokenizer {
				tok, err := Load(dir)
				if err != nil {
					t.Fatal(err)
				}
				if tok.Len() != c.Len {
					t.Errorf("%d tokens, want %d", tok.Len(), c.Len)
				}
				for i, x := range recorded.Texts {
					if got := tok.EncodeSpecial(x); !slices.Equal(got, c.IDs[i]) {
						t.Errorf("%q is %v, want %v", x, got, c.IDs[i])
					}
				}
				for name, want := range map[string]*int32{"bos_token": c.BOS, "eos_token": c.EOS, "pad_token": c.Pad} {
					if _, id, ok := tok.special(name); ok != (want != nil) || ok && id != *want {
						t.Errorf("%s is %d, %v", name, id, ok)
					}
				}
				if tok.ChatTemplate() != c.Chat {
					t.Errorf("chat template %q, want %q", tok.ChatTemplate(), c.Chat)
				}
				return tok
			}
			tok := check(dir)
			if tok.NamesTemplates() != c.Named {
				t.Errorf("templates with names: %v, want %v", !c.Named, c.Named)
			}
			written := map[string]bool{}
			err = tok.Save(out, func(path string, data []byte) error {
				name, err := filepath.Rel(out, path)
				written[filepath.ToSlash(name)] = strings.HasSuffix(path, ".jinja")
				if err != nil {
					return err
				}
				return os.WriteFile(path, data, 0o644)
			})
			if err != nil {
				t.Fatal(err)
			}
			maps.DeleteFunc(written, func(_ string, jinja bool) bool { return !jinja })
			if got := slices.Sorted(maps.Keys(written)); !slices.Equal(got, c.Saved) {
				t.Errorf("chat templates are saved in %q, want %q", got, c.Saved)
			}
			check(out)
		})
	}
}

// put writes a file of a folder, whose own folders it makes.
func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// changed is a tokenizer.json with other added_tokens and another post_processor.
func changed(t *testing.T, path string, added, post json.RawMessage) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	file["added_tokens"], file["post_processor"] = added, post
	text, err = json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
