package selector

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

// gradients is every row's gradient of its mean loss, with one backward pass per row, in
// float64.
func gradients(t *testing.T, run *algo.Run, examples []data.Example) [][]float64 {
	t.Helper()
	out := make([][]float64, len(examples))
	for i := range examples {
		m := batch.Pack(examples, []int{i})
		if _, err := run.Model.Backward(m.Batch, decoder.Objective{Weight: m.MeanWeights()}); err != nil {
			t.Fatal(err)
		}
		for _, p := range run.Model.Trainable() {
			for j, x := range p.Grad.Host() {
				out[i] = append(out[i], float64(x))
				p.Grad.Host()[j] = 0
			}
		}
	}
	return out
}

// adamDirections is m̂/(√v̂+ε) with bias correction, from the run's moments.
func adamDirections(run *algo.Run, g [][]float64) [][]float64 {
	var m, v []float64
	for _, p := range run.Model.Trainable() {
		_ = run.Optimizer.(optim.Adaptive).Moments(p, func(pm, pv driver.F32) error { // the function has no error
			for i := range pm.Host() {
				m, v = append(m, float64(pm.Host()[i])), append(v, float64(pv.Host()[i]))
			}
			return nil
		})
	}
	steps := float64(run.Optimizer.Steps() + 1)
	out := make([][]float64, len(g))
	for i := range g {
		for j, x := range g[i] {
			mh := (0.9*m[j] + 0.1*x) / (1 - math.Pow(0.9, steps))
			vh := (0.999*v[j] + 0.001*x*x) / (1 - math.Pow(0.999, steps))
			out[i] = append(out[i], mh/(math.Sqrt(vh)+1e-8))
		}
	}
	return out
}

func unit(x []float64) []float64 {
	var s float64
	for _, v := range x {
		s += v * v
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v / math.Sqrt(s)
	}
	return out
}

func inner(x, y []float64) float64 {
	var s float64
	for i, v := range x {
		s += v * y[i]
	}
	return s
}

// meanCosines is the faithful score by its definition.
func meanCosines(train, eval [][]float64, task []int) []float64 {
	out := make([]float64, len(train))
	for i := range train {
		for _, j := range task {
			out[i] += inner(unit(train[i]), unit(eval[j])) / float64(len(task))
		}
	}
	return out
}

func selected(t *testing.T, s algo.Selector, r algo.Request) algo.Selection {
	t.Helper()
	r.Key = strings.Repeat("0123456789abcdef", 4)
	sel, err := s.Select(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

func compare(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tolerance) {
			t.Errorf("%s of row %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestLESSTakesTheBestSubtask(t *testing.T) {
	run := whole(t, rows(24, 4, 1), rows(6, 2, 2))
	run.Subtasks = []string{"a", "b", "a", "b", "a", "b"}
	train, eval := adamDirections(run, gradients(t, run, run.Train)), gradients(t, run, run.Eval)
	a, b := meanCosines(train, eval, []int{0, 2, 4}), meanCosines(train, eval, []int{1, 3, 5})
	want := make([]float64, len(a))
	for i := range a {
		want[i] = max(a[i], b[i])
	}
	cache := "cache_dir: " + t.TempDir()
	s := mustBuild(t, run, "less", "faithful", cache, "projection: none")
	sel := selected(t, s, algo.Request{Step: 4, Update: 1, N: 8})
	compare(t, "score", sel.Score, want, 2e-4)
	if !slices.Equal(sel.Indices, top(algo.Faithful, want, 8)) {
		t.Errorf("picked %v, want %v", sel.Indices, top(algo.Faithful, want, 8))
	}
	none := mustBuild(t, run, "less", "faithful", cache, "projection: none", "subtask_by: none")
	compare(t, "score without subtasks", selected(t, none, algo.Request{N: 1}).Score, meanCosines(train, eval, []int{0, 1, 2, 3, 4, 5}), 2e-4)
}

// eps_inside puts Adam's ε under the root, as princeton-nlp/LESS does. Here ε is large, so that
// its place matters.
func TestLESSEpsInside(t *testing.T) {
	run := whole(t, rows(10, 4, 1), rows(2, 1, 2))
	const eps = 1e-4
	o, err := optim.NewAdamW(run.Device, optim.Groups(run.Model.Trainable(), 0), 0.9, 0.999, eps)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	run.Optimizer = o
	train, eval := gradients(t, run, run.Train), gradients(t, run, run.Eval)
	scores := map[string][]float64{}
	for inside, divisor := range map[string]func(v float64) float64{
		"true":  func(v float64) float64 { return math.Sqrt(v + eps) },
		"false": func(v float64) float64 { return math.Sqrt(v) + eps },
	} {
		steps := make([][]float64, len(train))
		for i, g := range train { // m̂ = g and v̂ = g² at the first step
			for _, x := range g {
				steps[i] = append(steps[i], x/divisor(x*x))
			}
		}
		s := mustBuild(t, run, "less", "faithful", "cache_dir: "+t.TempDir(), "projection: none", "eps_inside: "+inside)
		scores[inside] = selected(t, s, algo.Request{N: 1}).Score
		compare(t, "score with eps_inside "+inside, scores[inside], meanCosines(steps, eval, []int{0, 1}), 2e-4)
	}
	var apart float64
	for i, x := range scores["true"] {
		apart = max(apart, math.Abs(x-scores["false"][i]))
	}
	if apart < 1e-2 {
		t.Errorf("it makes no difference here: %v", apart)
	}
}

// Two checkpoints: the scores of each, with its own weights and moments, times its
// mean learning rate, and the run's own weights untouched.
func TestLESSOverCheckpoints(t *testing.T) {
	run := whole(t, rows(16, 4, 1), rows(3, 1, 2))
	dirs := []string{t.TempDir(), t.TempDir()}
	want := make([]float64, len(run.Train))
	own := flattened(run)
	for c, dir := range dirs {
		for i, p := range run.Model.Trainable() {
			for j := range p.Data.Host() {
				p.Data.Host()[j] += float32(0.02 * math.Sin(float64(c+i+j)))
				p.Grad.Host()[j] = float32(0.01 * math.Cos(float64(c+i+2*j)))
			}
		}
		run.Optimizer.Step(0, 1) // moments move, weights do not
		saveCheckpoint(t, run, dir, c)
		for _, p := range run.Model.Trainable() {
			clear(p.Grad.Host())
		}
		train, eval := adamDirections(run, gradients(t, run, run.Train)), gradients(t, run, run.Eval)
		for i, x := range meanCosines(train, eval, []int{0, 1, 2}) {
			want[i] += []float64{3e-4, 1e-4}[c] * x
		}
	}
	for at, p := 0, run.Model.Trainable(); len(p) > 0; p = p[1:] {
		at += copy(p[0].Data.Host(), own[at:])
	}
	s := mustBuild(t, run, "less", "faithful", "cache_dir: "+t.TempDir(), "projection: none", "checkpoints: ["+dirs[0]+", "+dirs[1]+"]")
	sel := selected(t, s, algo.Request{N: 4})
	for i := range want {
		want[i] *= 1e4
		sel.Score[i] *= 1e4
	}
	compare(t, "score", sel.Score, want, 1e-3)
	if !slices.Equal(flattened(run), own) {
		t.Error("the run's own weights were not put back")
	}
	if s.(algo.Recorder).Reuse() {
		t.Error("a choice may be reused though its key does not cover the checkpoints")
	}
}

func flattened(run *algo.Run) []float32 {
	var w []float32
	for _, p := range run.Model.Trainable() {
		w = append(w, p.Data.Host()...)
	}
	return w
}

func saveCheckpoint(t *testing.T, run *algo.Run, dir string, c int) {
	t.Helper()
	if err := run.Model.SaveAdapter(dir); err != nil {
		t.Fatal(err)
	}
	steps, moments, err := run.Optimizer.State()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "optimizer.safetensors"), nil, moments); err != nil {
		t.Fatal(err)
	}
	type line struct {
		Step int     `json:"step"`
		Rate float64 `json:"learning_rate"`
	}
	log := []line{{1, 2e-4}, {2, 4e-4}, {3, 1.5e-4}, {4, 0.5e-4}}[:2+2*c]
	for name, v := range map[string]any{
		"dataflex_state.json": map[string]any{"optimizer_steps": steps},
		"trainer_state.json":  map[string]any{"global_step": 2 + 2*c, "log_history": log},
	} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A row without labels has no gradient: it is never picked, and named.
func TestUnlabelledRow(t *testing.T) {
	pool := rows(12, 3, 1)
	for i := range pool[5].Labels {
		pool[5].Labels[i] = data.IgnoreIndex
	}
	run := whole(t, pool, rows(3, 1, 2))
	for _, c := range [][]string{
		{"less", "projection: none"},
		{"less", "proj_dim: 64"},
		{"zeroth", "directions: 2"},
		{"cluster_less", "cluster_size: 1", "proj_dim: 64"},
	} {
		s := mustBuild(t, run, c[0], "faithful", append(c[1:], "cache_dir: "+t.TempDir())...)
		sel := selected(t, s, algo.Request{Step: 4, Update: 1, N: 12})
		if !math.IsNaN(sel.Score[5]) || slices.Contains(sel.Indices, 5) {
			t.Errorf("%v: row 5 has score %v; picked %v", c, sel.Score[5], sel.Indices)
		}
		if len(sel.Indices) != 12 {
			t.Errorf("%v: %d rows for a window of 12", c, len(sel.Indices))
		}
	}
}

func TestClusterLESS(t *testing.T) {
	run := whole(t, rows(30, 3, 1), rows(4, 1, 2))
	train, eval := adamDirections(run, gradients(t, run, run.Train)), gradients(t, run, run.Eval)
	params := []string{"projection: none", "num_clusters: 5", "samples_per_cluster: 40", "cache_dir: " + t.TempDir()}
	s := mustBuild(t, run, "cluster_less", "faithful", params...).(*clusterLESS)
	sel := selected(t, s, algo.Request{Step: 4, Update: 1, N: 9})
	// With every row a representative, a cluster's feature is the mean of all its rows'.
	want := make([]float64, 30)
	for c := range s.clusters() {
		mean := make([]float64, len(train[0]))
		for i, id := range s.ids {
			if id == c {
				for j, x := range unit(train[i]) {
					mean[j] += x
				}
			}
		}
		score := meanCosines([][]float64{mean}, eval, []int{0, 1, 2, 3})[0]
		for i, id := range s.ids {
			if id == c {
				want[i] = score
			}
		}
	}
	compare(t, "score", sel.Score, want, 2e-4)
	if sel.Facts["num_clusters"] != s.clusters() || sel.Facts["num_representatives"] != 30 {
		t.Errorf("facts %v", sel.Facts)
	}
	// The partition is computed once: a resumed run reads it from the checkpoint.
	other := mustBuild(t, run, "cluster_less", "faithful", params...).(*clusterLESS)
	if other.Reuse() {
		t.Error("a first choice may be reused though the clusters are unknown")
	}
	carry(t, s, other)
	if !slices.Equal(other.ids, s.ids) {
		t.Error("the clusters were not restored")
	}
	again := selected(t, other, algo.Request{Step: 4, Update: 1, N: 9})
	if !slices.Equal(again.Indices, sel.Indices) {
		t.Errorf("after a restart %v, before %v", again.Indices, sel.Indices)
	}
}

func TestClusterLESSEmbeddingFolder(t *testing.T) {
	run := whole(t, rows(20, 4, 1), rows(3, 1, 2))
	folder := algotest.Model(t, 3, modelKeys)
	for _, method := range []string{"kmeans", "spherical_kmeans", "farthest_first", "lsh", "random_partition"} {
		for _, strategy := range []string{"random", "nearest", "farthest", "mixed"} {
			s := mustBuild(t, run, "cluster_less", "upstream", "proj_dim: 128", "cluster_size: 5", "samples_per_cluster: 2", "cache_dir: "+t.TempDir(),
				"clustering_method: "+method, "representative_strategy: "+strategy, "embedding_model_name_or_path: "+folder, "embedding_model_dtype: bf16", "embedding_layer: 1")
			if sel := selected(t, s, algo.Request{Step: 4, Update: 1, N: 6}); len(sel.Indices) != 6 {
				t.Errorf("%s, %s: %v", method, strategy, sel.Indices)
			}
		}
	}
	for _, c := range []struct{ param, want string }{
		{"embedding_layer: 3", "0 to 2"},
		{"clustering_method: dbscan", "dbscan"},
		{"representative_strategy: best", "best"},
		{"embedding_model_dtype: int8", "int8"},
		{"samples_per_cluster: 0", "at least one"},
		{"cluster_size: 0", "at least one"},
	} {
		if _, err := build(t, run, "cluster_less", "faithful", c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
}

// d(z) is the gradient's component along the direction, and the weights are restored to their
// exact bits.
func TestZerothDifferences(t *testing.T) {
	run := whole(t, rows(10, 5, 1), rows(3, 1, 2))
	before := flattened(run)
	g := gradients(t, run, run.Train)
	s := mustBuild(t, run, "zeroth", "faithful", "directions: 3", "eps: 1e-3").(*zeroth)
	w, err := newPerturbation(run.Device, run.Model.Trainable(), s.seed)
	if err != nil {
		t.Fatal(err)
	}
	for k := range 3 {
		w.draw(k)
		d, err := s.differences(context.Background(), w, run.Train)
		if err != nil {
			t.Fatal(err)
		}
		xi := make([]float64, len(w.xi))
		for i, x := range w.xi {
			xi[i] = float64(x)
		}
		for i := range d {
			want := inner(g[i], xi)
			scale := math.Sqrt(inner(g[i], g[i]))
			if math.Abs(d[i]-want) > 0.02*scale {
				t.Errorf("direction %d, row %d: %v, the gradient's component is %v of length %v", k, i, d[i], want, scale)
			}
		}
	}
	if err := w.move(0); err != nil || !slices.Equal(flattened(run), before) {
		t.Error("the weights changed")
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Select(ended, algo.Request{N: 1}); err == nil || !slices.Equal(flattened(run), before) {
		t.Errorf("interrupted: error %v, weights changed: %v", err, !slices.Equal(flattened(run), before))
	}
}

// The interpreter's differences equal the host's, to the rounding of two subtracted losses:
// 2e-6 of them over 2ε.
func TestZerothOnTheInterpreter(t *testing.T) {
	host, dev := whole(t, rows(4, 2, 1), rows(2, 1, 2)), sim.New(sim.Options{})
	t.Cleanup(func() { dev.Close() })
	m, err := decoder.Load(dev, algotest.Model(t, 3, modelKeys), decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.AddLoRA(decoder.LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}}, rand.New(rand.NewPCG(4, 5)).Float64); err != nil {
		t.Fatal(err)
	}
	for i, p := range m.Trainable() {
		if err := p.Upload(dev, host.Model.Trainable()[i].Data.Host()); err != nil {
			t.Fatal(err)
		}
	}
	device := *host
	device.Device, device.Model = dev, m
	differences := func(run *algo.Run) []float64 {
		s := mustBuild(t, run, "zeroth", "faithful", "directions: 1", "eps: 1e-2").(*zeroth)
		w, err := newPerturbation(run.Device, run.Model.Trainable(), s.seed)
		if err != nil {
			t.Fatal(err)
		}
		w.draw(0)
		d, err := s.differences(context.Background(), w, run.Train)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.move(0); err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := differences(host)
	for i, d := range differences(&device) {
		if math.Abs(d-want[i]) > 5e-4 {
			t.Errorf("row %d: %v on the interpreter, %v on the host", i, d, want[i])
		}
	}
	for i, p := range m.Trainable() {
		if x, err := p.Read(dev); err != nil || !slices.Equal(x, host.Model.Trainable()[i].Data.Host()) {
			t.Errorf("%s: the weights changed, %v", p.Name, err)
		}
	}
}

// The directions are standard normal numbers.
func TestZerothDirections(t *testing.T) {
	w := &perturbation{xi: make([]float32, 1<<16), seed: 42}
	w.draw(3)
	var sum, square, fourth float64
	for _, x := range w.xi {
		v := float64(x)
		sum, square, fourth = sum+v, square+v*v, fourth+v*v*v*v
	}
	n := float64(len(w.xi))
	if math.Abs(sum/n) > 0.02 || math.Abs(square/n-1) > 0.03 || math.Abs(fourth/n-3) > 0.2 {
		t.Errorf("moments %v %v %v, want 0 1 3", sum/n, square/n, fourth/n)
	}
}

// The methods find the evaluation rows' family.
func TestMethodsFindTheFamily(t *testing.T) {
	run := whole(t, rows(60, 5, 1), rows(4, 1, 2)) // the evaluation rows are of family 0
	for _, c := range []struct {
		params []string
		least  int
	}{
		{[]string{"less"}, 9}, {[]string{"cluster_less", "cluster_size: 6"}, 9}, {[]string{"zeroth", "directions: 24"}, 5},
	} {
		s := mustBuild(t, run, c.params[0], "faithful", append(c.params[1:], "cache_dir: "+t.TempDir())...)
		hits := 0
		for _, i := range selected(t, s, algo.Request{Step: 4, Update: 1, N: 10}).Indices {
			if i%5 == 0 {
				hits++
			}
		}
		if hits < c.least {
			t.Errorf("%s: %d of 10 picks are of the family, chance is 2", c.params[0], hits)
		} else {
			t.Logf("%s: %d of 10", c.params[0], hits)
		}
	}
}

// plain is an optimizer without Adam's moments.
type plain struct{ optim.Optimizer }

// A method that needs Adam's direction reports that there is none; with raw gradients it needs
// none.
func TestAdamsDirectionNeedsAdam(t *testing.T) {
	run := whole(t, rows(4, 1, 1), rows(2, 1, 2))
	run.Optimizer = plain{run.Optimizer}
	for _, name := range []string{"less", "cluster_less"} {
		_, err := build(t, run, name, "faithful", "cache_dir: "+t.TempDir())
		if err == nil || !strings.Contains(err.Error(), "train with optim: adamw_torch, or set gradient_type: sgd") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := mustBuild(t, run, "less", "faithful", "cache_dir: "+t.TempDir(), "gradient_type: sgd", "proj_dim: 64")
	if sel := selected(t, s, algo.Request{N: 2}); len(sel.Indices) != 2 {
		t.Errorf("picked %v", sel.Indices)
	}
}
