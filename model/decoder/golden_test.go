package decoder

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/xent"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// shared is the folder of recorded reference values, where the checkout has one.
const shared = "../../../shared/golden"

// golden opens a file of recorded values and skips the test where there is none.
func golden(t *testing.T, path ...string) *checkpoint.Weights {
	t.Helper()
	name := filepath.Join(path...)
	if _, err := os.Stat(name); err != nil {
		t.Skipf("no recorded values: %v", err)
	}
	w, err := checkpoint.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func floats(t *testing.T, w *checkpoint.Weights, name string) []float32 {
	t.Helper()
	shape, ok := w.Shape(name)
	if !ok {
		t.Fatalf("no recorded %s", name)
	}
	n := 1
	for _, d := range shape {
		n *= d
	}
	v := make([]float32, n)
	if err := w.ReadFloat32(name, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t testing.TB, threads int, dir string) *Model {
	t.Helper()
	dev := cpu.New(threads)
	m, err := Load(dev, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); dev.Close() })
	return m
}

// recorded is the batch of golden/families, packed.
type recorded struct {
	batch  Batch
	weight []float32 // of the mean over labelled tokens
	rows   []int     // of every packed token in the padded batch
}

func record(t *testing.T, w *checkpoint.Weights) recorded {
	ids, mask, labels := floats(t, w, "input_ids"), floats(t, w, "attention_mask"), floats(t, w, "labels")
	shape, _ := w.Shape("input_ids")
	width := shape[1]
	r := recorded{batch: Batch{PadLen: width, Segments: []int32{0}}}
	labelled := 0
	for i := range ids {
		if i%width == 0 && i > 0 {
			r.batch.Segments = append(r.batch.Segments, int32(len(r.batch.Tokens)))
		}
		if mask[i] == 0 {
			continue
		}
		target := int32(-100)
		if i%width < width-1 {
			target = int32(labels[i+1])
		}
		if target >= 0 {
			labelled++
		}
		r.batch.Tokens = append(r.batch.Tokens, int32(ids[i]))
		r.batch.Targets = append(r.batch.Targets, target)
		r.rows = append(r.rows, i)
	}
	r.batch.Segments = append(r.batch.Segments, int32(len(r.batch.Tokens)))
	for range r.batch.Tokens {
		r.weight = append(r.weight, 1/float32(labelled))
	}
	return r
}

// logits runs the model without a gradient.
func logits(t *testing.T, m *Model, b Batch) []float32 {
	t.Helper()
	if err := m.check(&b, Objective{}); err != nil {
		t.Fatal(err)
	}
	m.tape.Begin(autograd.Mode{})
	h := m.final(m.stack(&b, m.config.Layers, nil))
	c := m.config
	out := make([]float32, len(b.Tokens)*c.Vocab)
	xent.Logits(m.dev, m.headParams(len(b.Tokens), 0), h.Data(), m.head.Weight.Data, driver.FromHost(out))
	return out
}

// worst is the largest difference, divided by the largest entry of want.
func worst(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var diff, top float64
	for i := range want {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			return d
		}
		diff, top = max(diff, d), max(top, math.Abs(float64(want[i])))
	}
	if diff == 0 {
		return 0
	}
	return diff / top
}

func within(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if e := worst(got, want); !(e <= tolerance) {
		t.Errorf("%s: off by %.2e of the largest entry, allowed %.0e", what, e, tolerance)
	}
}

// TestFamilies compares logits, losses and every gradient with transformers.
func TestFamilies(t *testing.T) {
	dirs := recordedFamilies(t)
	if len(dirs) == 0 {
		t.Skip("no recorded families")
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			testFamily(t, golden(t, dir, "golden.safetensors"), open(t, 2, dir))
		})
	}
}

// recordedFamilies are the folders with recorded values: all of DATAFLEX_FAMILIES, or those of
// ../shared whose model type is supported.
func recordedFamilies(t *testing.T) []string {
	t.Helper()
	if root := os.Getenv("DATAFLEX_FAMILIES"); root != "" {
		return folders(root)
	}
	dirs := folders(filepath.Join(shared, "families"))
	for _, dir := range folders(filepath.Join(shared+"-next", "families")) {
		c, err := checkpoint.ReadModelConfig(dir)
		if c == nil {
			t.Fatal(err)
		}
		if _, ok := families[c.ModelType]; ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func folders(root string) []string {
	files, _ := filepath.Glob(filepath.Join(root, "*", "config.json"))
	for i, f := range files {
		files[i] = filepath.Dir(f)
	}
	return files
}

func testFamily(t *testing.T, w *checkpoint.Weights, m *Model) {
	r := record(t, w)
	b := r.batch
	vocab := m.config.Vocab
	all := floats(t, w, "logits")
	var want []float32
	for _, row := range r.rows {
		want = append(want, all[row*vocab:(row+1)*vocab]...)
	}
	if m.config.Rope.Type == "longrope" {
		testLongest(t, w, r, logits(t, m, b), want)
		return
	}
	within(t, "logits", logits(t, m, b), want, 1e-4)
	testRouting(t, w, m, r.rows)

	losses, err := m.Losses(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	balance, err := m.BalanceLoss()
	if err != nil {
		t.Fatal(err)
	}
	coefficient := m.config.MoE.AuxCoef
	if _, ok := w.Shape("aux_loss"); !ok { // output_router_logits is off
		coefficient = 0
	}
	total := coefficient * balance
	for i, l := range losses {
		total += float64(l * r.weight[i])
	}
	within(t, "loss", []float32{float32(total)}, floats(t, w, "loss"), 1e-5)
	within(t, "sample_mean_nll", sampleMeans(b, losses), floats(t, w, "sample_mean_nll"), 1e-5)

	if err := m.TrainAll(); err != nil {
		t.Fatal(err)
	}
	trained, err := m.Backward(b, Objective{Weight: r.weight, Balance: float32(coefficient)})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "losses of Backward", trained, losses, 0)
	_, single := w.Shape("float32.grad." + m.Trainable()[0].Name)
	recorded, top := map[*tensor.Param][]float32{}, float32(0)
	for _, p := range m.Trainable() {
		recorded[p] = laidGradient(t, w, "grad.", m, p)
		top = max(top, largest(recorded[p]))
	}
	for _, p := range m.Trainable() {
		// A gradient that is mathematically 0, such as that of key biases without rotary
		// embedding, consists of rounding errors in both.
		if largest(recorded[p]) < 1e-6*top && largest(p.Grad.Host()) < 1e-6*top {
			continue
		}
		allowed := 1e-4
		if single { // recorded in float64: where terms cancel the error may be twice that of transformers' own float32
			allowed = max(allowed, 2*worst(laidGradient(t, w, "float32.grad.", m, p), recorded[p]))
		}
		within(t, "grad."+p.Name, p.Grad.Host(), recorded[p], allowed)
	}
}

func largest(x []float32) (top float32) {
	for _, v := range x {
		top = max(top, v, -v)
	}
	return top
}

// laidGradient returns the recorded gradient of p in p's own layout, from the recordings whose
// names begin with of. Transformers 5 calls gpt_neox's head lm_head, but saves it as embed_out.
func laidGradient(t *testing.T, w *checkpoint.Weights, of string, m *Model, p *tensor.Param) []float32 {
	t.Helper()
	var all []float32
	for _, s := range m.tensors(p, p.Name) {
		name := s.Name
		if _, ok := w.Shape(of + name); !ok {
			name = strings.Replace(name, "embed_out", "lm_head", 1)
		}
		all = append(all, gradient(t, w, of, name)...)
	}
	m.layouts[p].arrange(p.Shape, all)
	return all
}

// testLongest compares the logits of the rows that are as long as the padded batch:
// transformers computes the angles of shorter rows from the batch's length, and we from their
// own. Single rows, and gradients, are in TestLongRope.
func testLongest(t *testing.T, w *checkpoint.Weights, r recorded, got, want []float32) {
	shape, _ := w.Shape("logits")
	compared, row := 0, shape[2]
	for i := range r.batch.Segments[1:] {
		from, to := int(r.batch.Segments[i]), int(r.batch.Segments[i+1])
		if to-from == r.batch.PadLen {
			within(t, "logits", got[from*row:to*row], want[from*row:to*row], 1e-4)
			compared++
		}
	}
	if compared == 0 {
		t.Error("no row is as long as the batch")
	}
}

// stacked returns one expert's matrix; transformers 5 has those of all experts in one tensor.
var stacked = regexp.MustCompile(`^(.*)\.(?:mlp|block_sparse_moe)\.experts\.(\d+)\.(\w+)\.weight$`)

// gradient returns the recorded gradient of a parameter, named of+name. Transformers 5 has the
// experts in one tensor, gate before up, and calls the block mlp in every family but
// granitemoe.
func gradient(t *testing.T, w *checkpoint.Weights, of, name string) []float32 {
	t.Helper()
	if _, ok := w.Shape(of + name); ok {
		return floats(t, w, of+name)
	}
	moved := strings.NewReplacer("input_linear.weight", "experts.gate_up_proj", "output_linear.weight", "experts.down_proj", "router.layer", "router").Replace(name)
	if _, ok := w.Shape(of + moved); ok {
		return floats(t, w, of+moved)
	}
	m := stacked.FindStringSubmatch(name)
	if m == nil {
		return floats(t, w, of+strings.Replace(name, "block_sparse_moe", "mlp", 1))
	}
	tensor, at, parts := "gate_up_proj", 0, 2
	switch m[3] {
	case "up_proj", "w3":
		at = 1
	case "down_proj", "w2":
		tensor, parts = "down_proj", 1
	}
	tensor = of + m[1] + ".mlp.experts." + tensor
	shape, _ := w.Shape(tensor)
	all := floats(t, w, tensor)
	e, err := strconv.Atoi(m[2])
	if err != nil {
		t.Fatal(err)
	}
	size := shape[1] * shape[2] / parts
	from := (e*parts + at) * size
	return all[from : from+size]
}

// testRouting compares the routers' probabilities and the balance loss after a pass.
func testRouting(t *testing.T, w *checkpoint.Weights, m *Model, rows []int) {
	t.Helper()
	routings := m.Routings()
	sparse := 0
	for i := range m.config.Layers {
		if m.config.sparse(i) || m.config.MoE.Experts > 0 && families[m.config.ModelType].mixtureBeside {
			sparse++
		}
	}
	if len(routings) != sparse {
		t.Fatalf("%d routed layers, want %d", len(routings), sparse)
	}
	balance, err := m.BalanceLoss()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := w.Shape("aux_loss"); ok {
		within(t, "aux_loss", []float32{float32(balance)}, floats(t, w, "aux_loss"), 1e-6)
	} else if _, asked := w.Shape("router_logits.0"); asked && balance != 0 {
		t.Errorf("a balance loss of %v, and transformers has none", balance)
	}
	if _, ok := w.Shape("router_logits.0"); !ok {
		return
	}
	n := m.config.MoE.Experts
	for i, r := range routings {
		all := floats(t, w, fmt.Sprintf("router_logits.%d", i))
		var want []float32
		for _, row := range rows {
			var sum float64
			for _, z := range all[row*n : (row+1)*n] {
				sum += math.Exp(float64(z))
			}
			for _, z := range all[row*n : (row+1)*n] {
				want = append(want, float32(math.Exp(float64(z))/sum))
			}
		}
		within(t, fmt.Sprintf("router %d", i), r.Probabilities().Host(), want, 1e-4)
	}
}

// sampleMeans is the mean loss over each segment's labelled tokens.
func sampleMeans(b Batch, losses []float32) []float32 {
	var means []float32
	for i := range b.Segments[1:] {
		var sum, n float64
		for j := b.Segments[i]; j < b.Segments[i+1]; j++ {
			if b.Targets[j] >= 0 {
				sum, n = sum+float64(losses[j]), n+1
			}
		}
		means = append(means, float32(sum/n))
	}
	return means
}

// TestUnsupported: an unknown family is refused by name.
func TestUnsupported(t *testing.T) {
	dir := t.TempDir()
	config := `{"model_type": "qwen9", "architectures": ["Qwen9ForCausalLM"], "hidden_size": 8, "intermediate_size": 8,
		"num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(1)
	defer dev.Close()
	_, err := Load(dev, dir, Options{})
	want := filepath.Join(dir, "config.json") + ": model_type \"qwen9\" (Qwen9ForCausalLM) is not supported; the nearest supported one is \"qwen2\" (Qwen/Qwen2.5-0.5B); `dataflex-cli models` lists all"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestSupported: every family has an example, and the most similar name is suggested for an
// unknown one.
func TestSupported(t *testing.T) {
	for _, s := range List() {
		if s.Example == "" || s.Architecture == "" {
			t.Errorf("%+v", s)
		}
	}
	if len(examples) != len(families) {
		t.Errorf("%d examples of %d families", len(examples), len(families))
	}
	for modelType, want := range map[string]string{"qwen3_5_text2": "qwen3_5_text", "glm4v_moe": "glm4_moe", "deepseek_v2": "deepseek_v3", "lama": "llama"} {
		if got := nearest(modelType); got != want {
			t.Errorf("the nearest to %s is %s, want %s", modelType, got, want)
		}
	}
}

// TestHostOnly: what only the CPU computes is refused elsewhere, before any weights are
// read.
func TestHostOnly(t *testing.T) {
	for modelType, what := range map[string]string{
		`"youtu", "architectures": ["YoutuForCausalLM"], "v_head_dim": 256`:                                           "latent attention whose values are wider than its keys",
		`"glm4_moe", "architectures": ["Glm4MoeForCausalLM"], "n_routed_experts": 66, "n_group": 33, "topk_group": 4`: "experts in more than 32 groups",
		`"gemma", "architectures": ["GemmaForCausalLM"], "head_dim": 264`:                                             "attention with heads of 264",
		`"mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 1025`:                               "more than 1024 experts",
	} {
		dir := t.TempDir()
		config := `{"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 8, "model_type": ` + modelType + `}`
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(modelType, ",")
		_, err := Init(sim.New(sim.Options{}), dir, Options{}, nil)
		want := dir + `/config.json: model_type ` + name + ` needs ` + what + `, which has no kernel for --device sim: take --device cpu`
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
