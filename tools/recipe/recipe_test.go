package recipe

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write data/examples again")

const examples = "../../data/examples"

// TestExamples: data/examples has exactly the files generated from the table.
func TestExamples(t *testing.T) {
	want := map[string]string{"components.yaml": Components(All(), Example(Recipe{Kind: Mix})), "README.md": Index()}
	for _, r := range All() {
		want[r.Name+".yaml"] = ForExample(r).YAML(Example(r))
	}
	for name, text := range Programs {
		want[name] = text
	}
	for name, text := range want {
		path := filepath.Join(examples, name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("%s is not what the table says (%v): go test ./tools/recipe -update writes it", path, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := want[filepath.Base(f)]; !ok {
			t.Errorf("%s is no recipe", f)
		}
	}
}

// TestFind: doremi is three files; for a mistyped name the nearest one is suggested.
func TestFind(t *testing.T) {
	if r, err := Find("doremi"); err != nil || len(r) != 3 || r[0].Name != "doremi_1" || r[2].Name != "doremi_3" {
		t.Errorf("doremi: %v, %v", r, err)
	}
	if _, err := Find("les"); err == nil || !strings.Contains(err.Error(), "did you mean less?") {
		t.Errorf("les: %v", err)
	}
	if _, err := Find("xxxxxxxx"); err == nil || !strings.Contains(err.Error(), "there are cluster_less, coincide, custom") {
		t.Errorf("xxxxxxxx: %v", err)
	}
}
