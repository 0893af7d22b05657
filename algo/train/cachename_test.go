package train_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/train"
)

// TestFolderInPlaceOfASelection: a folder with the name of a file in cache_dir costs a warning
// and the reuse of the selection, not the run.
func TestFolderInPlaceOfASelection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	args := []string{"train_type=dynamic_select", "component_name=loss"}
	f.must(args...)
	want := adapter(t, filepath.Join(f.dir, "out"))
	files, err := filepath.Glob(filepath.Join(f.dir, "cache/loss/*.json"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		must(t, os.Remove(path))
		must(t, os.Mkdir(path, 0o755))
		out := filepath.Join(f.dir, "again")
		log, err := f.said(train.Options{}, append(args, "output_dir="+out)...)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if !strings.Contains(log, "the selection is not kept in cache_dir: ") || !strings.Contains(log, path) || !strings.Contains(log, "move the folder away") {
			t.Errorf("%s: the run does not name it\n%s", path, log)
		}
		if string(adapter(t, out)) != string(want) {
			t.Errorf("%s: the run ends with other weights", path)
		}
		must(t, os.RemoveAll(out))
		must(t, os.Remove(path))
		must(t, os.WriteFile(path, raw, 0o644))
	}
}

// TestRopeScalingOfTheRun: a rope_scaling that is not needed makes a run no other one; another
// factor, which cutoff_len decides, does.
func TestRopeScalingOfTheRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.begun(2, "save_steps=1")
	for _, args := range [][]string{{"rope_scaling=linear"}, {"rope_scaling=yarn"}, nil} {
		log, err := f.said(train.Options{}, append(args, "save_steps=1")...)
		if err != nil || !strings.Contains(log, "resuming") && !strings.Contains(log, "finished") {
			t.Errorf("%v: %v\n%s", args, err, log)
		}
	}
	f = newFixture(t)
	dir := f.copyModel()
	config := filepath.Join(dir, "config.json")
	raw, err := os.ReadFile(config)
	short := strings.Replace(string(raw), `"max_position_embeddings": 256`, `"max_position_embeddings": 32`, 1)
	if err != nil || short == string(raw) {
		t.Fatal(err)
	}
	must(t, os.WriteFile(config, []byte(short), 0o644))
	model := "model_name_or_path=" + dir
	for key, want := range map[string]string{"cutoff_len=128": "rope_scaling's factor was 2, is now 4", "rope_scaling=yarn": "rope_scaling was linear, is now yarn"} {
		f.begun(2, model, "save_steps=1", "rope_scaling=linear", "overwrite_output_dir=true")
		log, err := f.said(train.Options{}, model, "save_steps=1", "rope_scaling=linear", key)
		if err != nil || !strings.Contains(log, "set aside: it is of another run: "+want) {
			t.Errorf("%s: %v, want %s\n%s", key, err, want, log)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
