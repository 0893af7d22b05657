package template

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Upstream's renderings of every template are in a folder beside the checkout; without it only
// testdata is used.
const shared = "../../../shared/data/"

func readGzip(t *testing.T, path string, v any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Skip("no shared data: ", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(v); err != nil {
		t.Fatal(err)
	}
}

func TestSharedRendered(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "946684800") // 01 Jan 2000, the date in the cases
	var cases []rendered
	readGzip(t, shared+"llamafactory/templates_rendered.json.gz", &cases)
	equal := 0
	for i := range cases {
		if cases[i].Template == "minimax2" && cases[i].Error != "" {
			continue // calls that 0.9.4 fails on and 0.9.5 formats
		}
		if cases[i].check(t) {
			equal++
		}
	}
	t.Logf("%d of %d cases equal", equal, len(cases))
}

// markedTokenizer spells BOS and EOS as the definitions do.
type markedTokenizer struct{ Tokenizer }

func (markedTokenizer) BOS() (string, int32, bool) { return "⟦bos⟧", 1, true }
func (markedTokenizer) EOS() (string, int32, bool) { return "⟦eos⟧", 2, true }

// The shared definitions also hold the fields that rendering does not show.
func TestSharedDefinitions(t *testing.T) {
	var defs []struct {
		Template   string
		StopWords  []string `json:"stop_words"`
		Efficient  bool     `json:"efficient_eos"`
		ReplaceEOS bool     `json:"replace_eos"`
		Replace    bool     `json:"replace_jinja_template"`
		Jinja      string   `json:"generated_chat_template"`
		Ollama     string   `json:"generated_ollama_template"`
	}
	readGzip(t, shared+"llamafactory/template_defs.json.gz", &defs)
	if len(defs) != 124 { // the others of the table are held by data/processor's TestAddedTemplates
		t.Errorf("%d definitions, want 124", len(defs))
	}
	equal := 0
	for _, d := range defs {
		tmpl, err := Get(d.Template)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%q %v %v %v", tmpl.StopWords(), tmpl.EfficientEOS(), tmpl.replaceEOS, tmpl.replaceJinja)
		if want := fmt.Sprintf("%q %v %v %v", d.StopWords, d.Efficient, d.ReplaceEOS, d.Replace); got != want {
			t.Errorf("%s: %s, want %s", d.Template, got, want)
		}
		ollama, err := tmpl.Ollama(markedTokenizer{})
		if want, broken := strings.CutPrefix(d.Ollama, "ERROR"); broken != (err != nil) || !broken && ollama != want {
			t.Errorf("%s: Ollama (%v)\n got %q\nwant %q", d.Template, err, ollama, d.Ollama)
		}
		jinja, err := tmpl.Jinja(markedTokenizer{})
		switch {
		case strings.HasPrefix(d.Jinja, "ERROR"):
			if err == nil {
				t.Errorf("%s: Jinja gives %q, upstream %s", d.Template, jinja, d.Jinja)
				continue
			}
		case err != nil || jinja != d.Jinja:
			t.Errorf("%s: Jinja (%v)\n got %q\nwant %q", d.Template, err, jinja, d.Jinja)
			continue
		}
		equal++
	}
	t.Logf("%d of %d chat templates equal", equal, len(defs))
}
