package train_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
)

// method is a method to run as a component.
type method struct {
	kind, name, mode string
	params           string // %s is the fixture's folder
	overrides        []string
}

func (m method) String() string { return m.kind + " " + m.name + ", " + m.mode }

// otherwise lists the methods that run differently in the two modes.
var otherwise = []string{"nice", "coincide", "delta_loss", "near", "tsds", "random", "doremi", "odm", "adapt", "joint_update_aware", "loss", "saw", "dynamic", "chain", "draw"}

// methods lists all methods, and those that run differently in mode upstream a second time.
func methods(t *testing.T) (all []method) {
	t.Helper()
	for _, mode := range []string{"faithful", "upstream"} {
		gradient := "projection: sjlt, proj_dim: 32, cache_dir: %[1]s/cache/it"
		nice := gradient + ", reward: contains, mc_samples: 2, max_new_tokens: 4"
		if mode == "upstream" {
			nice += ", fallback: reference, policy_model_path: %[1]s/tiny"
		}
		for name, params := range map[string]string{
			"less": gradient, "nice": nice, "cluster_less": gradient + ", cluster_size: 4", "icons": gradient + ", tasks: column", "coincide": "cache_dir: %[1]s/cache/it", "zeroth": "cache_dir: %[1]s/cache/it",
			"loss": "cache_dir: %[1]s/cache/it", "delta_loss": "cache_dir: %[1]s/cache/it", "random": "cache_dir: %[1]s/cache/it",
			"static": "cache_dir: %[1]s/cache/it", "custom": "cache_dir: %[1]s/cache/it",
			"near": "indices_path: %[1]s/near.npy, cache_dir: %[1]s/cache/it", "tsds": "probs_path: %[1]s/tsds.npy, cache_dir: %[1]s/cache/it",
		} {
			all = append(all, method{"selector", name, mode, params, []string{"train_type=dynamic_select"}})
		}
		domains := []string{"train_type=dynamic_mix", "dataset=pool,other,single", "max_steps=5"}
		for name, params := range map[string]string{
			"static": "proportions: [0.5, 0.3, 0.2]", "random": "seed: 3", "odm": "warmup_steps: 1",
			"doremi": "reference_model_path: %[1]s/tiny", "dynamic_moe": "eval_samples: 3, collect_steps: 1, eval_batch_size: 4",
		} {
			overrides := domains
			if name == "dynamic_moe" {
				overrides = append(slices.Clip(domains), "model_name_or_path=%[1]s/experts")
			}
			all = append(all, method{"mixer", name, mode, params, overrides})
		}
		for name, params := range map[string]string{"loss": "", "adapt": "refresh_interval: 3", "joint_update_aware": "target_update_step: 2", "custom": ""} {
			all = append(all, method{"weighter", name, mode, params, []string{"train_type=dynamic_weight", "max_steps=4"}})
		}
		for name, params := range map[string]string{
			"saw":     "pattern: saw, pattern_params: {num_sections: 3, folding_ratio: 0.1}, window_size: 3, score_params: {score_path: %[1]s/scores.npy}",
			"dynamic": "kind: dynamic, pattern: stair, pattern_params: {folding_ratio: 0.1}, reorder_every: 2, score_params: {max_samples: 5}",
		} {
			all = append(all, method{"reorder", name, mode, params, []string{"train_type=dynamic_reorder", "train_step=7"}})
		}
		for name, stages := range map[string]string{
			"chain":    "{family: selector, component: pick, every: 4}, {family: mixer, component: odm, every: 2}, {family: reorder, component: arc}, {family: weighter, component: loss, warmup_step: 2}",
			"draw":     "{family: selector, component: deltas, mode: draw}",
			"product":  "{family: mixer, component: doremi}, {family: weighter, component: loss}, {family: weighter, component: adapt}",
			"narrowed": "{family: selector, component: pick, keep_ratio: 0.3, warmup_step: 3}",
			"order":    "{family: reorder, component: arc, every: 4}",
		} {
			params := "seed: 5, cache_dir: %[1]s/cache/it, save_plans: true, stages: [" + stages + "]"
			all = append(all, method{"pipeline", name, mode, params, []string{"train_type=dynamic_lego", "dataset=pool,other,single", "max_steps=8"}})
		}
	}
	all = slices.DeleteFunc(all, func(m method) bool { return m.mode == "upstream" && !slices.Contains(otherwise, m.name) })
	slices.SortFunc(all, func(a, b method) int { return strings.Compare(a.String(), b.String()) })
	ours := func(kind string) (names []string) {
		for _, m := range all {
			if m.kind == kind && m.mode == "faithful" {
				names = append(names, m.name)
			}
		}
		return names
	}
	own := func(name string) bool { return strings.HasPrefix(name, "test_") }
	registered, mixers, weighters := slices.DeleteFunc(algo.Selectors(), own), slices.DeleteFunc(algo.Mixers(), own), slices.DeleteFunc(algo.Weighters(), own)
	if !slices.Equal(ours("selector"), registered) || !slices.Equal(ours("mixer"), mixers) || !slices.Equal(ours("weighter"), weighters) {
		t.Errorf("the table has not all of %v, %v and %v", registered, mixers, weighters)
	}
	return all
}

// arguments are the overrides of a run of the method.
func (m method) arguments(f *fixture, more ...string) []string {
	out := append([]string{"component_name=it", "warmup_step=1", "update_step=2"}, more...)
	for _, o := range m.overrides {
		if strings.Contains(o, "%") {
			o = fmt.Sprintf(o, f.dir)
		}
		out = append(out, o)
	}
	params := m.params
	if strings.Contains(params, "%") {
		params = fmt.Sprintf(params, f.dir)
	}
	f.write("components.yaml", fmt.Sprintf("%ss:\n  it:\n    name: %s\n    mode: %s\n    params: {%s}\n", m.kind, m.name, m.mode, params)+m.bricks(f))
	return out
}

// bricks writes the components that the stages of a pipeline name.
func (m method) bricks(f *fixture) string {
	if m.kind != "pipeline" {
		return ""
	}
	return fmt.Sprintf(`
selectors: {pick: {name: loss}, deltas: {name: delta_loss}}
mixers: {odm: {name: odm, params: {warmup_steps: 1}}, doremi: {name: doremi, params: {reference_model_path: %s/tiny}}}
reorders: {arc: {name: arc, params: {kind: dynamic, pattern: saw, pattern_params: {folding_ratio: 0.1}, score_source: model_loss}}}
weighters: {loss: {name: loss}, adapt: {name: adapt, params: {refresh_interval: 3}}}
`, f.dir)
}

// small is a fixture with models of random weights that take no time, with two more data
// sets, one of them with a single row.
func small(t *testing.T) *fixture {
	f := newFixture(t)
	f.model("tiny", map[string]any{"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama"})
	f.model("experts", map[string]any{"architectures": []string{"MixtralForCausalLM"}, "model_type": "mixtral", "num_local_experts": 3, "num_experts_per_tok": 2})
	var other []map[string]string
	for i := range 9 {
		other = append(other, question(fmt.Sprintf("Say %d", i), fmt.Sprint("it is ", i)))
	}
	f.json("other.json", other)
	f.json("single.json", []map[string]string{question("Alone", "yes")})
	f.json("dataset_info.json", map[string]any{
		"pool": map[string]string{"file_name": "pool.json"}, "eval": map[string]string{"file_name": "eval.json"},
		"other": map[string]string{"file_name": "other.json"}, "single": map[string]string{"file_name": "single.json"},
	})
	raw, err := os.ReadFile(filepath.Join(f.dir, "run.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("run.yaml", strings.Replace(string(raw), "model_name_or_path: "+model, "model_name_or_path: "+f.dir+"/tiny", 1))
	return f
}

// model writes a model of random weights, with the given keys of its configuration, and the
// demo's tokenizer.
func (f *fixture) model(name string, kind map[string]any) {
	f.t.Helper()
	dir := filepath.Join(f.dir, name)
	if err := os.CopyFS(dir, os.DirFS(model)); err != nil {
		f.t.Fatal(err)
	}
	c := map[string]any{
		"hidden_act": "silu", "hidden_size": 16,
		"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
		"max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000, "tie_word_embeddings": true, "vocab_size": 512,
		"initializer_range": 0.3, "eos_token_id": 509, "pad_token_id": 509,
	}
	maps.Copy(c, kind)
	f.json(name+"/config.json", c)
	m, err := decoder.Init(cpu.New(1), dir, decoder.Options{}, rand.New(rand.NewPCG(uint64(len(name)), 1)).NormFloat64)
	if err != nil {
		f.t.Fatal(err)
	}
	defer m.Close()
	if err := m.SaveFull(dir); err != nil {
		f.t.Fatal(err)
	}
}

// offline writes the files that near, tsds and an order by scores read.
func (f *fixture) offline(rows int) {
	f.t.Helper()
	order := rand.New(rand.NewPCG(5, 5)).Perm(rows)
	near, p := make([]int64, rows), make([]float64, rows)
	for i, row := range order {
		near[i], p[row] = int64(row), 2*float64(i+1)/float64(rows*(rows+1))
	}
	f.write("near.npy", string(npy.Encode(near, 2, rows/2)))
	f.write("tsds.npy", string(npy.Encode(p, rows)))
	f.write("scores.npy", string(npy.Encode(p, rows)))
}

// killAt ends a run where SIGKILL might: no code of the loop runs afterwards, although it
// recovers from panics.
type killAt int

func (k killAt) Step(done, _ int, _ float64, _ int) {
	if done == int(k) {
		runtime.Goexit()
	}
}
func (killAt) Close() {}

// killed runs until that many steps are done, and reports whether the run ended first.
func (f *fixture) killed(steps int, args ...string) (over bool) {
	f.t.Helper()
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), args)
	if err != nil {
		f.t.Fatal(err)
	}
	var run sync.WaitGroup
	run.Go(func() {
		err = train.Run(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler), Progress: killAt(steps)})
		over = true
	})
	run.Wait()
	if err != nil {
		f.t.Fatal(err)
	}
	return over
}

// TestRegression07EveryStep kills a run of every method before each of its steps is saved,
// so that it resumes from every checkpoint, boundaries of windows included, without any file
// of its choices. Rows, weights, losses and domain weights are those of an undisturbed run.
// (Also 29 of the second list.)
func TestRegression07EveryStep(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.offline(48)
	for _, m := range methods(t) {
		t.Run(m.String(), func(t *testing.T) {
			f.t = t
			args := m.arguments(f, "save_steps=1", "save_total_limit=2", "lora_dropout=0.1", "max_steps=-1", "num_train_epochs=1.2")
			cache := filepath.Join(f.dir, "cache", "it")
			dirs := []string{filepath.Join(f.dir, "whole"), filepath.Join(f.dir, "broken")}
			defer func() {
				for _, dir := range append(dirs, cache) {
					if err := os.RemoveAll(dir); err != nil {
						t.Error(err)
					}
				}
			}()
			f.must(append(args, "output_dir="+dirs[0])...)
			forget := func() {
				if err := os.RemoveAll(cache); err != nil {
					t.Fatal(err)
				}
			}
			forget()
			// It is the same run with either value of overwrite_output_dir.
			for kill := 2; !f.killed(kill, append(args, "output_dir="+dirs[1], fmt.Sprintf("overwrite_output_dir=%v", kill%2 == 0))...); kill++ {
				forget()
			}
			if !sameFile(t, filepath.Join(dirs[0], "adapter_model.safetensors"), filepath.Join(dirs[1], "adapter_model.safetensors")) {
				t.Error("the weights differ from those of an undisturbed run")
			}
			if a, b := records(t, dirs[0]), records(t, dirs[1]); a != b {
				t.Errorf("undisturbed:\n%s\nkilled:\n%s", a, b)
			}
		})
	}
}

// records are a run's losses, the rows it selected and its domains' weights, without times.
func records(t *testing.T, dir string) string {
	t.Helper()
	loss, norm := losses(t, dir)
	out := fmt.Sprintln(loss, norm)
	for _, name := range []string{"selected_rows.jsonl", "doremi_weights.jsonl", "odm_weights.jsonl", "dynamic_moe_weights.jsonl", "doremi_average_weights.json"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			out += regexp.MustCompile(`"(timestamp|time|runtime)": "?[^,}"]*"?`).ReplaceAllString(string(raw), "")
		}
	}
	return out
}

// TestMethodsSurvive: every method trains on a pool that is smaller than requested without
// repetition, has a row without labels, and domains of one row.
func TestMethodsSurvive(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.offline(8)
	text := func(rows ...string) (out []map[string]string) {
		for _, s := range rows {
			out = append(out, map[string]string{"text": s})
		}
		return out
	}
	pool := text("", "one", "one two", "one two three", "two", "two three", "three", "three four")
	f.json("pool.json", pool)
	f.json("other.json", text(""))
	f.json("single.json", text("alone"))
	f.json("eval.json", text("one two", "", "three"))
	info := map[string]any{}
	for _, name := range []string{"pool", "eval", "other", "single"} {
		info[name] = map[string]any{"file_name": name + ".json", "columns": map[string]string{"prompt": "text"}}
	}
	f.json("dataset_info.json", info)
	for _, m := range methods(t) {
		if m.name == "nice" { // it asks questions, which pre-training does not have
			continue
		}
		t.Run(m.String(), func(t *testing.T) {
			f.t = t
			out := filepath.Join(f.dir, "out")
			f.must(m.arguments(f, "stage=pt", "packing=false", "template=default", "max_steps=4", "overwrite_output_dir=true", "output_dir="+out)...)
			loss, norm := losses(t, out)
			for i := range loss {
				if !(loss[i] >= 0) || math.IsInf(loss[i], 0) || !(norm[i] >= 0) {
					t.Errorf("step %d: loss %v norm %v", i+1, loss[i], norm[i])
				}
			}
		})
	}
}
