package main

import (
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// install exports files of these contents.
func install(dir, sources string, files map[string]string, overwrite bool) error {
	out, err := openTarget(dir, []string{sources}, slices.Collect(maps.Keys(files)), overwrite)
	if err != nil {
		return err
	}
	for n, text := range files {
		if err := storage.WriteFile(filepath.Join(out.path(), n), []byte(text)); err != nil {
			return errors.Join(err, out.abort())
		}
	}
	return errors.Join(out.install(), out.abort())
}

// contents are the files of a folder except export's own record.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if e.Name() == exportFile || e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

var (
	oneFile   = map[string]string{"config.json": "c1", "model.safetensors": "m1", "Modelfile": "f1", "tokenizer.json": "t1"}
	twoShards = map[string]string{"config.json": "c2", "model.safetensors.index.json": "i2", "model-00001-of-00002.safetensors": "a2", "model-00002-of-00002.safetensors": "b2", "tokenizer.json": "t2, longer"}
)

func with(files map[string]string, more ...string) map[string]string {
	files = maps.Clone(files)
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return files
}

// Another model is only overwritten on request, and files that are not export's are kept in any
// case.
func TestExportOverOthers(t *testing.T) {
	for name, c := range map[string]struct {
		there     map[string]string
		earlier   string // sources of an earlier export of oneFile; "" = none
		overwrite bool
		refused   string
		want      map[string]string
	}{
		"nothing":                      {nil, "", false, "", twoShards},
		"a repository without model":   {map[string]string{"README.md": "r", "model_card.safetensors": "x"}, "", false, "", with(twoShards, "README.md", "r", "model_card.safetensors", "x")},
		"another model":                {map[string]string{"config.json": "c", "model_card.safetensors": "x"}, "", false, "contains another model (config.json)", nil},
		"another model's weights":      {map[string]string{"model.safetensors": "m"}, "", false, "contains another model (model.safetensors)", nil},
		"another model, asked":         {map[string]string{"config.json": "c", "model.safetensors": "m", "model_card.safetensors": "x"}, "", true, "", with(twoShards, "model_card.safetensors", "x")},
		"an earlier export":            {map[string]string{"model.gguf": "g"}, "base", false, "", with(twoShards, "model.gguf", "g")},
		"an export of others":          {nil, "elsewhere", false, "contains another model (Modelfile, config.json, model.safetensors, tokenizer.json)", nil},
		"an export of others, asked":   {nil, "elsewhere", true, "", twoShards},
		"an earlier export, exchanged": {map[string]string{"model.safetensors": "another"}, "base", false, "contains another model (model.safetensors)", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			if c.earlier != "" {
				if err := install(dir, c.earlier, with(oneFile), false); err != nil {
					t.Fatal(err)
				}
			} else if c.there != nil {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for n, text := range c.there {
				write(t, filepath.Join(dir, n), text)
			}
			names := slices.Concat(slices.Collect(maps.Keys(twoShards)), []string{"Modelfile"})
			out, err := openTarget(dir, []string{"base"}, names, c.overwrite)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), "--overwrite") {
					t.Errorf("got %v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := out.abort(); err != nil {
				t.Fatal(err)
			}
			if err := install(dir, "base", twoShards, c.overwrite); err != nil {
				t.Fatal(err)
			}
			if got := contents(t, dir); !maps.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			for _, d := range []string{dir, filepath.Dir(dir)} {
				if left, _ := filepath.Glob(filepath.Join(d, ".*")); len(left) > 1 || len(left) == 1 && filepath.Base(left[0]) != exportFile {
					t.Errorf("left %v", left)
				}
			}
		})
	}
}

// dying is a file system on which every change fails from the n-th on.
type dying struct {
	storage.FS
	left *int
}

func (d dying) live() bool {
	*d.left--
	return *d.left >= 0
}

func (d dying) OpenFile(name string, flag int, perm fs.FileMode) (storage.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE) != 0 && !d.live() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EIO}
	}
	return d.FS.OpenFile(name, flag, perm)
}

func (d dying) Mkdir(name string, perm fs.FileMode) error {
	if !d.live() {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.EIO}
	}
	return d.FS.Mkdir(name, perm)
}

func (d dying) Rename(a, b string) error {
	if !d.live() {
		return &os.LinkError{Op: "rename", Old: a, New: b, Err: syscall.EIO}
	}
	return d.FS.Rename(a, b)
}

func (d dying) Exchange(a, b string) error {
	if !d.live() {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: syscall.EIO}
	}
	return d.FS.Exchange(a, b)
}

func (d dying) Remove(name string) error {
	if !d.live() {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.EIO}
	}
	return d.FS.Remove(name)
}

// Wherever an export dies, the folder is either not a model (without config.json), or
// completely the old or the new one; and the next export completes it and leaves no other
// files.
func TestExportDies(t *testing.T) {
	for name, earlier := range map[string]bool{"into nothing": false, "over an earlier one": true} {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				root := t.TempDir()
				dir := filepath.Join(root, "out")
				if earlier {
					if err := install(dir, "base", oneFile, false); err != nil {
						t.Fatal(err)
					}
					write(t, filepath.Join(dir, "README.md"), "mine")
				}
				left := n
				unmount := storage.Mount(root, dying{storage.OS, &left})
				died := install(dir, "base", twoShards, false)
				unmount()
				if died == nil {
					if n < 10 {
						t.Errorf("only %d operations", n)
					}
					return
				}
				if _, err := os.Stat(filepath.Join(dir, "config.json")); err == nil {
					got := contents(t, dir)
					delete(got, "README.md")
					delete(got, ".export.lock")
					if !maps.Equal(got, oneFile) && !maps.Equal(got, twoShards) {
						t.Errorf("dead at operation %d (%v): %v", n, died, got)
					}
				}
				if err := install(dir, "base", twoShards, false); err != nil {
					t.Fatalf("dead at operation %d (%v): the next export: %v", n, died, err)
				}
				want := with(twoShards)
				if earlier {
					want["README.md"] = "mine"
				}
				if got := contents(t, dir); !maps.Equal(got, want) {
					t.Errorf("dead at operation %d: the next export leaves %v", n, got)
				}
				if left, _ := filepath.Glob(filepath.Join(root, "*", ".*")); len(left) != 1 {
					t.Errorf("dead at operation %d: left %v", n, left)
				}
			}
		})
	}
}

// NaN is refused, naming the file and the tensor, or where only the sum of model and adapter is
// NaN, the tensor.
func TestExportRefusesNaN(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	const up = "model.layers.2.mlp.up_proj"
	for want, spoil := range map[string]func(model, adapter string) (path string, tensor checkpoint.Tensor){
		storage.ModelFile + `: tensor "model.norm.weight" holds NaN (element 2)`: func(model, _ string) (string, checkpoint.Tensor) {
			return filepath.Join(model, storage.ModelFile), checkpoint.Tensor{Name: "model.norm.weight", Shape: []int{4}, F32: []float32{1, 2, nan, 3}}
		},
		storage.AdapterFile + `: tensor "` + peftPrefix + up + `.lora_B.weight" holds NaN (element 0)`: func(_, adapter string) (string, checkpoint.Tensor) {
			return filepath.Join(adapter, storage.AdapterFile), checkpoint.Tensor{Name: peftPrefix + up + ".lora_B.weight", Shape: []int{3, 2}, F32: []float32{nan, 0, 0, 0, 0, 0}}
		},
		`tensor "` + up + `.weight" holds NaN (element 0) after merging`: func(_, adapter string) (string, checkpoint.Tensor) {
			return filepath.Join(adapter, storage.AdapterFile), checkpoint.Tensor{Name: peftPrefix + up + ".lora_B.weight", Shape: []int{3, 2}, F32: []float32{inf, -inf, 0, 0, 0, 0}}
		},
	} {
		model, adapter := modelFolder(t)
		replaceTensor(t)(spoil(model, adapter))
		m := merge(t, model, adapter)
		shards, total := plan(m, 4, 1<<20)
		dir := t.TempDir()
		if err := writeModel(t.Context(), m, dir, "float32", shards, total); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
}

// replaceTensor writes a file again with one tensor replaced.
func replaceTensor(t *testing.T) func(path string, with checkpoint.Tensor) {
	return func(path string, with checkpoint.Tensor) {
		t.Helper()
		w, err := checkpoint.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tensors := []checkpoint.Tensor{with}
		for _, n := range w.Names() {
			if n == with.Name {
				continue
			}
			shape, _ := w.Shape(n)
			values := make([]float32, elements(shape))
			if err := w.ReadFloat32(n, values); err != nil {
				t.Fatal(err)
			}
			tensors = append(tensors, checkpoint.Tensor{Name: n, Shape: shape, F32: values})
		}
		if err := errors.Join(w.Close(), checkpoint.WriteSafetensors(path, nil, tensors)); err != nil {
			t.Fatal(err)
		}
	}
}
