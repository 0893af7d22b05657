package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/storage/memfs"
)

// cutsTried is the number of power cuts tried for each command.
const cutsTried = 6

// made is the moment at which a page was made.
var made = regexp.MustCompile(`"made":"[^"]*"`)

// TestPowerCuts: whenever the power fails, each output of a command is whole or not there, and
// the same command then finishes the work, and leaves nothing else behind. A kill leaves one of
// the same disks, as everything was written to it.
func TestPowerCuts(t *testing.T) {
	model, err := filepath.Abs(demoModel)
	if err != nil {
		t.Fatal(err)
	}
	run, err := filepath.Abs("../../algo/report/page/testdata/runs/select")
	if err != nil {
		t.Fatal(err)
	}
	pickFolder(t)
	rows := `[{"text": "eins"}, {"text": "zwei"}, {"text": "drei"}]`
	for name, text := range map[string]string{"rows.json": rows, "e.yaml": "model_name_or_path: " + model + "\ntemplate: chatml\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		name, command string // OUT is the disk's folder
	}{
		{"pick", "pick scores.jsonl --top 2 --dataset-dir data --out OUT/p/d.jsonl"},
		{"pick parquet", "pick scores.jsonl --top 2 --dataset b --dataset-dir data --out OUT/p/d.parquet"},
		{"embed", "embed " + model + " rows.json OUT/v/vectors.npy"},
		{"report", "report " + run + " --out OUT/report.html"},
		{"compare", "report --compare " + run + " --out OUT/paper"},
		{"export", "export e.yaml export_dir=OUT/m/model"},
		{"export gguf", "export e.yaml export_dir=OUT/m/model.gguf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := fmt.Sprintf("/dataflex-memfs-cli-%d", i)
			args := strings.Fields(strings.ReplaceAll(c.command, "OUT", root))
			disk := memfs.New(root)
			disk.RecordCuts()
			unmount := storage.Mount(root, disk)
			if code, said := capture(t, args); code != 0 {
				t.Fatal(said)
			}
			want := outputs(t, root)
			unmount()
			if _, err := os.Stat(root); err == nil {
				t.Fatalf("something was written past data/storage, into %s", root)
			}
			cuts := disk.Cuts()
			step := max(1, len(cuts)/cutsTried)
			for at := step - 1; at < len(cuts); at += step {
				unmount := storage.Mount(root, cuts[at].Disk)
				for name, text := range outputs(t, root) {
					// What has a temporary name is not an output; an entry may be all that is missing.
					if !strings.Contains(name, "/.") && text != want[name] {
						t.Errorf("power cut before change %d: %s is there, and differs", cuts[at].Before, name)
					}
				}
				if code, said := capture(t, args); code != 0 && at < len(cuts)-1 {
					t.Errorf("power cut before change %d: %s", cuts[at].Before, said)
				}
				if got := outputs(t, root); !equalFiles(got, want) {
					t.Errorf("power cut before change %d: after the same command there are %v, want %v", cuts[at].Before, names(got), names(want))
				}
				unmount()
			}
		})
	}
}

// outputs are the files below a folder, by name.
func outputs(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := storage.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			for name, text := range outputs(t, path) {
				out[name] = text
			}
			continue
		}
		if filepath.Ext(path) == ".lock" {
			continue // a lock's file stays where its owner died; the next owner removes it
		}
		text, err := storage.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = made.ReplaceAllString(string(text), "")
	}
	return out
}

func names(files map[string]string) (out []string) {
	for name := range files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func equalFiles(a, b map[string]string) bool {
	for name := range a {
		if a[name] != b[name] {
			return false
		}
	}
	return len(a) == len(b)
}

// TestPickTwice: a pick that was killed before it wrote the entry is finished by the same
// command; a file with other content is refused, and so is a second entry.
func TestPickTwice(t *testing.T) {
	for _, out := range []string{"out/d.jsonl", "out/d.parquet"} {
		pickFolder(t)
		again := func(top int) error {
			return pick(t.Context(), "scores.jsonl", options(func(o *pickOptions) { o.top, o.datasets, o.out = top, []string{"b"}, out }), os.Stderr)
		}
		if err := again(2); err != nil {
			t.Fatal(err)
		}
		info := filepath.Join("out", dataset.InfoFile)
		entry, err := os.ReadFile(info)
		if err != nil {
			t.Fatal(err)
		}
		if err := again(2); err == nil || !strings.Contains(err.Error(), "exists: --overwrite") {
			t.Errorf("%s: %v", out, err)
		}
		for _, top := range []int{1, 2} {
			if err := os.Remove(info); err != nil {
				t.Fatal(err)
			}
			err := again(top)
			if top == 1 && (err == nil || !strings.Contains(err.Error(), "exists: --overwrite")) {
				t.Errorf("%s of other rows: %v", out, err)
			}
			if top == 1 {
				if _, err := os.Stat(info); err == nil {
					t.Error("refused, and yet there is an entry")
				}
				if err := os.WriteFile(info, []byte("{}"), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if got, readErr := os.ReadFile(info); err != nil || readErr != nil || string(got) != string(entry) {
				t.Errorf("%s: %v, %v\n%s\nwant\n%s", out, err, readErr, got, entry)
			}
		}
	}
}

// TestInitAgain: whatever an init that was killed did not write yet, the next one writes; one
// that finds everything is refused.
func TestInitAgain(t *testing.T) {
	t.Chdir(t.TempDir())
	args := []string{"init", "doremi", "--model", "m", "--template", "chatml"}
	if code, said := capture(t, args); code != 0 {
		t.Fatal(said)
	}
	want := map[string]string{}
	read := func() map[string]string {
		files := map[string]string{}
		err := fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				text, err := os.ReadFile(path)
				files[path] = string(text)
				return err
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	want = read()
	if code, said := capture(t, args); code != 1 || !strings.Contains(said, "already exists: --force") {
		t.Errorf("a second time: %d %s", code, said)
	}
	// The order in which they are written.
	order := []string{"sums.jsonl", "words.jsonl", "facts.jsonl", "components.yaml", dataset.InfoFile, "doremi_1.yaml", "doremi_2.yaml", "doremi_3.yaml"}
	if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, names(want)) {
		t.Fatalf("it wrote %v", names(want))
	}
	for n := range order {
		for _, name := range order[n:] {
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
		code, said := capture(t, args)
		if got := read(); code != 0 || !equalFiles(got, want) {
			t.Errorf("killed before %s: %d %s\nthere are %v", order[n], code, said, names(got))
		}
	}
}
