package train_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/model/checkpoint"
)

// copyModel copies the model folder, so that a test can damage it.
func (f *fixture) copyModel() string {
	f.t.Helper()
	dir := filepath.Join(f.dir, "model")
	if err := os.CopyFS(dir, os.DirFS(model)); err != nil {
		f.t.Fatal(err)
	}
	return dir
}

// edit rewrites the weights file of the copied model.
func (f *fixture) edit(change func(raw []byte) []byte) string {
	dir := f.copyModel()
	path := filepath.Join(dir, "model.safetensors")
	raw, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, change(raw), 0o644); err != nil {
		f.t.Fatal(err)
	}
	return "model_name_or_path=" + dir
}

// rewrite changes one tensor of a copied model.
func (f *fixture) rewrite(name string, change func(t *checkpoint.Tensor)) string {
	dir := f.copyModel()
	f.tensors(func(all []checkpoint.Tensor) []checkpoint.Tensor {
		for i := range all {
			if all[i].Name == name {
				change(&all[i])
			}
		}
		return all
	})
	return "model_name_or_path=" + dir
}

// tensors rewrites the weights of the copied model.
func (f *fixture) tensors(change func([]checkpoint.Tensor) []checkpoint.Tensor) {
	f.t.Helper()
	path := filepath.Join(f.dir, "model", "model.safetensors")
	w, err := checkpoint.OpenFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	var all []checkpoint.Tensor
	for _, n := range w.Names() {
		shape, _ := w.Shape(n)
		size := 1
		for _, d := range shape {
			size *= d
		}
		t := checkpoint.Tensor{Name: n, Shape: shape, F32: make([]float32, size)}
		if err := w.ReadFloat32(n, t.F32); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, t)
	}
	if err := w.Close(); err != nil {
		f.t.Fatal(err)
	}
	if err := checkpoint.WriteSafetensors(path, nil, change(all)); err != nil {
		f.t.Fatal(err)
	}
}

// TestBadInput: each fault is one error that names the place and the way out, and leaves no
// incomplete files.
func TestBadInput(t *testing.T) {
	t.Parallel()
	dynamic := []string{"train_type=dynamic_select", "component_name=loss"}
	for name, c := range map[string]struct {
		args func(f *fixture) []string
		want []string // parts of the message
	}{
		"no model folder": {
			func(*fixture) []string { return []string{"model_name_or_path=nowhere"} },
			[]string{"model_name_or_path", "nowhere"},
		},
		"no weights": {
			func(f *fixture) []string {
				dir := f.copyModel()
				if err := os.Remove(filepath.Join(dir, "model.safetensors")); err != nil {
					t.Fatal(err)
				}
				return []string{"model_name_or_path=" + dir}
			},
			[]string{"model_name_or_path", "model.safetensors"},
		},
		"truncated weights": {
			func(f *fixture) []string { return []string{f.edit(func(b []byte) []byte { return b[:len(b)-1000] })} },
			[]string{"model.safetensors", "bytes"},
		},
		"header longer than the file": {
			func(f *fixture) []string {
				return []string{f.edit(func(b []byte) []byte { binary.LittleEndian.PutUint64(b, uint64(len(b))); return b })}
			},
			[]string{"model.safetensors", "header"},
		},
		"wrong shape": {
			func(f *fixture) []string {
				return []string{f.rewrite("model.norm.weight", func(t *checkpoint.Tensor) { t.Shape, t.F32 = []int{95}, t.F32[:95] })}
			},
			[]string{"model.norm.weight", "95", "96"},
		},
		"NaN in the weights": {
			func(f *fixture) []string {
				return []string{f.rewrite("model.norm.weight", func(t *checkpoint.Tensor) { t.F32[0] = float32(math.NaN()) })}
			},
			[]string{"step 1", "NaN", "of pool", "no checkpoint"},
		},
		"unknown template": {
			func(*fixture) []string { return []string{"template=chatlm"} },
			[]string{"template", "chatlm", "did you mean chatml"},
		},
		"column that is not there": {
			func(f *fixture) []string {
				f.write("dataset_info.json", `{"pool": {"file_name": "pool.json", "columns": {"prompt": "question", "response": "output"}}, "eval": {"file_name": "eval.json"}}`)
				return nil
			},
			[]string{"dataset", "pool", "no row of", "question"},
		},
		"empty data set": {
			func(f *fixture) []string { f.write("pool.json", "[]"); return nil },
			[]string{"dataset", "pool.json"},
		},
		"cutoff_len 0": {
			func(*fixture) []string { return []string{"cutoff_len=0"} },
			[]string{"cutoff_len"},
		},
		"update_step 0": {
			func(*fixture) []string { return append(dynamic, "update_step=0") },
			[]string{"update_step"},
		},
		"window larger than the pool": {
			func(*fixture) []string { return append(dynamic, "update_step=13") },
			[]string{"update_step", "52 rows", "has 48"},
		},
		"output_dir that is a file": {
			func(f *fixture) []string { f.write("out", "in the way"); return nil },
			[]string{"output_dir", "out"},
		},
		"unknown key": {
			func(*fixture) []string { return []string{"learning_rat=1"} },
			[]string{"learning_rat", "learning_rate"},
		},
		"unknown component": {
			func(*fixture) []string { return []string{"train_type=dynamic_select", "component_name=les"} },
			[]string{"components.yaml", "les"},
		},
		"unknown parameter of a component": {
			func(f *fixture) []string {
				f.write("components.yaml", "selectors:\n  loss:\n    name: loss\n    params: {focu: low}\n")
				return dynamic
			},
			[]string{"components.yaml:4", "focu", "focus"},
		},
		"less without an evaluation set": {
			func(*fixture) []string {
				return []string{"train_type=dynamic_select", "component_name=less", "eval_dataset="}
			},
			[]string{"components.yaml", "eval_dataset"},
		},
		"target that is no module": {
			func(*fixture) []string { return []string{"lora_target=q_porj"} },
			[]string{"lora_target", "q_porj", "q_proj"},
		},
		"resume from a folder that is no checkpoint": {
			func(f *fixture) []string { return []string{"resume_from_checkpoint=" + f.dir} },
			[]string{"resume", "manifest.json"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			err := f.run(c.args(f)...)
			if err == nil {
				t.Fatal("the run went through")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the message does not say %q:\n%v", part, err)
				}
			}
			for _, file := range []string{"adapter_model.safetensors", "trainer_state.json"} {
				if _, err := os.Stat(filepath.Join(f.dir, "out", file)); err == nil {
					t.Errorf("%s was written", file)
				}
			}
		})
	}
}
