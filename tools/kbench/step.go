package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

// stepModels are those whose steps are timed, tiny to try the tool with.
var stepModels = []model{llama, qwen, smol, tiny}

var architectures = map[string]string{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}

// writeConfig makes a model's folder, of a config.json alone.
func writeConfig(dir, name string) (string, error) {
	i := slices.IndexFunc(stepModels, func(m model) bool { return m.name == name })
	if i < 0 {
		return "", fmt.Errorf("-step %s: the models are llama3-8b, qwen2.5-7b, smollm2-135m and tiny", name)
	}
	m := stepModels[i]
	b, err := json.MarshalIndent(map[string]any{
		"architectures": []string{architectures[m.kind]}, "model_type": m.kind, "hidden_act": "silu", "max_position_embeddings": 32768,
		"hidden_size": m.hidden, "intermediate_size": m.ffn, "num_hidden_layers": m.layers, "num_attention_heads": m.heads,
		"num_key_value_heads": m.kv, "vocab_size": m.vocab, "rms_norm_eps": m.eps, "rope_theta": m.theta, "tie_word_embeddings": m.tied,
		"initializer_range": 0.02, "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1,
	}, "", " ")
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644)
}

// StepRecord is one model's LoRA step at one length.
type StepRecord struct {
	Model  string `json:"model"`
	Tokens int    `json:"tokens"`
	Vary   bool   `json:"vary,omitempty"` // from half of that many tokens to all, every step another number
	// Checkpointed: layers were computed again in the backward pass, as they did not fit.
	Checkpointed bool          `json:"checkpointed,omitempty"`
	Steps        int           `json:"steps"`
	Rate         float64       `json:"tokens_per_s"`
	Seconds      float64       `json:"median_s"`
	TFLOPs       float64       `json:"tflop_s"` // the products of the pass alone
	Loss         float64       `json:"loss"`    // of the first step; ln(vocabulary) is right
	Check        string        `json:"check"`
	Peak         uint64        `json:"peak_bytes"`
	Planned      uint64        `json:"planned_bytes"`
	Launches     int           `json:"launches"`
	Kernels      []kernelShare `json:"kernels,omitempty"`
	InKernels    float64       `json:"in_kernels"` // their time in the profiled step / its own
	Select       []Selection   `json:"select,omitempty"`

	TorchRate  float64 `json:"torch_tokens_per_s,omitempty"`
	TorchPeak  uint64  `json:"torch_peak_bytes,omitempty"`
	TorchError string  `json:"torch_error,omitempty"`
	Error      string  `json:"error,omitempty"`
}

// Selection is a LESS pass over rows: their gradients, Adam directions and projections.
type Selection struct {
	Tokens int     `json:"tokens"` // of a pass through the model
	Length int     `json:"length"` // of a row
	Rows   int     `json:"rows"`
	Rate   float64 `json:"rows_per_s"`
}

// steps measures every model at every length, until the time is up.
func steps(dev driver.Device, o options, w io.Writer) (*Report, error) {
	report := describe(dev)
	dir, err := os.MkdirTemp("", "kbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	budget := cmp.Or(o.budget, 24*time.Hour)
	python, missing, ours, deadline := divided(o.device, budget)
	lengths, err := tokenCounts(o.tokens)
	if err != nil {
		return nil, err
	}
	for _, name := range strings.Split(o.step, ",") {
		if err := report.stepsOf(dev, o, dir, name, lengths, ours, w); err != nil {
			return nil, err
		}
	}
	if missing == "" {
		limit := time.Until(deadline)
		if o.budget == 0 {
			limit = 10 * time.Minute
		}
		missing = report.torchSteps(python, dir, o.device, limit, w)
	}
	report.NoTorch = missing
	report.stepTable(w)
	return report, nil
}

func tokenCounts(list string) (out []int, err error) {
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 2 {
			return nil, fmt.Errorf("-tokens %s: %q is no number of tokens", list, s)
		}
		out = append(out, n)
	}
	slices.Sort(out) // the device's peak is that of what ran so far
	return out, nil
}

// stepsOf measures one model, whose weights are made once.
func (r *Report) stepsOf(dev driver.Device, o options, home, name string, lengths []int, deadline time.Time, w io.Writer) error {
	dir, err := writeConfig(home, name)
	if err != nil {
		return err
	}
	p, err := profiled(dev)
	if err != nil {
		return err
	}
	if p != nil {
		dev = p
		defer p.close()
	}
	s := stepper{dev: dev, profiler: p, quick: o.quick || o.tiny, deadline: deadline}
	err = s.build(dir)
	if err == nil {
		defer s.close()
	}
	for _, tokens := range lengths {
		record := StepRecord{Model: name, Tokens: tokens, Vary: o.vary}
		if err != nil {
			record.Error = err.Error()
		} else if err := s.measure(&record); err != nil {
			record.Error = err.Error()
		}
		r.Steps = append(r.Steps, record)
		fmt.Fprintln(w, record.line())
		if err := r.write("", o.json); err != nil {
			return err
		}
	}
	if !o.choose {
		return nil
	}
	for i := range lengths { // afterwards, as a selection has memory of its own
		record := &r.Steps[len(r.Steps)-len(lengths)+i]
		if record.Error == "" && time.Now().Before(deadline) {
			if err := s.selections(record); err != nil {
				record.Error = "selecting: " + err.Error()
			}
		}
	}
	return r.write("", o.json)
}

// stepper is a model that trains.
type stepper struct {
	dev      driver.Device
	profiler *profiler // nil on a host
	quick    bool
	deadline time.Time
	model    *decoder.Model
	adam     *optim.AdamW
	random   *rand.Rand
}

const rank = 16 // of the adapters, on every linear layer

// build makes random weights on the device, and adapters.
func (s *stepper) build(dir string) (err error) {
	s.random = rand.New(rand.NewPCG(1, 4))
	if s.model, err = decoder.InitOnDevice(s.dev, dir, decoder.Options{BF16: true}, 1); err != nil {
		return err
	}
	if err = s.model.AddLoRA(decoder.LoRA{Rank: rank, Alpha: 2 * rank, Targets: []string{"all"}}, s.random.Float64); err == nil {
		s.adam, err = optim.NewAdamW(s.dev, optim.Groups(s.model.Trainable(), 0), 0.9, 0.999, 1e-8)
	}
	if err != nil {
		s.model.Close()
	}
	return err
}

func (s *stepper) close() {
	s.adam.Close()
	s.model.Close()
}

// batch is one sequence of random tokens.
func (s *stepper) batch(tokens int) decoder.Batch {
	b := decoder.Batch{Tokens: make([]int32, tokens), Targets: make([]int32, tokens)}
	for i := range b.Tokens {
		b.Tokens[i], b.Targets[i] = s.random.Int32N(int32(s.model.Config().Vocab)), s.random.Int32N(int32(s.model.Config().Vocab))
	}
	return b
}

// step trains on a batch and returns its mean loss.
func (s *stepper) step(b decoder.Batch) (loss float64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	weight := make([]float32, len(b.Tokens))
	for i := range weight {
		weight[i] = 1 / float32(len(b.Tokens))
	}
	losses, err := s.model.Backward(b, decoder.Objective{Weight: weight, Train: true})
	if err != nil {
		return 0, err
	}
	for _, l := range losses {
		loss += float64(l) / float64(len(losses))
	}
	params := s.model.Trainable()
	s.adam.Step(1e-5, optim.Clip(optim.GradNorm(s.dev, params), 1))
	for _, p := range params {
		reduce.Fill(s.dev, 0, p.Grad)
	}
	return loss, s.dev.Synchronize()
}

// measure times steps of that many tokens.
func (s *stepper) measure(r *StepRecord) error {
	least, most := 5, 20
	if s.quick {
		least, most = 2, 2
	}
	if err := s.reserve(r); err != nil {
		return err
	}
	var err error
	if r.Loss, err = s.step(s.batch(r.Tokens)); err != nil {
		return err
	}
	r.Check = good
	if want := math.Log(float64(s.model.Config().Vocab)); !(math.Abs(r.Loss-want) < 1) {
		r.Check = fmt.Sprintf("%s: the first loss is %.3f, that of random weights is near %.3f", bad, r.Loss, want)
	}
	var times []time.Duration
	tokens, work := 0, 0.0
	for range most {
		if len(times) >= least && time.Since(s.deadline) > 0 {
			break
		}
		n := r.Tokens
		if r.Vary {
			n -= s.random.IntN(r.Tokens/2 + 1)
		}
		b, start := s.batch(n), time.Now()
		if _, err := s.step(b); err != nil {
			return err
		}
		times = append(times, time.Since(start))
		tokens += n
		done := s.model.Work([]int{n}, n)
		work += done.Forward + done.Backward
	}
	sum := 0.0
	for _, t := range times {
		sum += t.Seconds()
	}
	slices.Sort(times)
	r.Steps, r.Seconds, r.Rate, r.TFLOPs = len(times), times[len(times)/2].Seconds(), float64(tokens)/sum, work/sum/1e12
	r.Peak = s.dev.HighWater()
	return s.shares(r)
}

// reserve takes the memory of a step. Where the device has less, layers are computed again in
// the backward pass, as a run would have them.
func (s *stepper) reserve(r *StepRecord) error {
	all := s.dev.Attributes().MemoryBytes
	var budget decoder.Budget
	for _, r.Checkpointed = range []bool{false, true} {
		s.model.CheckpointLayers(r.Checkpointed)
		budget = s.model.Memory(r.Tokens, r.Tokens)
		budget.Optimizer = s.adam.Bytes()
		if r.Planned = budget.Total(); all == 0 || r.Planned <= all {
			return s.model.Reserve(budget)
		}
	}
	return fmt.Errorf("%.1f GiB are needed, the device has %.1f", gib(r.Planned), gib(all))
}

// shares is what each kernel takes of a step.
func (s *stepper) shares(r *StepRecord) error {
	if s.profiler == nil {
		return nil
	}
	b, before := s.batch(r.Tokens), s.profiler.launches
	start := time.Now()
	kernels, err := s.profiler.profile(func() error { _, err := s.step(b); return err })
	if err != nil {
		return err
	}
	whole, sum := time.Since(start).Seconds(), 0.0
	r.Kernels, r.Launches = kernels, s.profiler.launches-before
	for _, k := range kernels {
		sum += k.Seconds
	}
	r.InKernels = sum / whole
	return nil
}

// selections times LESS's pass at the tokens that selections run at, and at those of the step.
func (s *stepper) selections(r *StepRecord) error {
	length := min(512, r.Tokens)
	rows, dim := max(4, 4*r.Tokens/length), 8192
	if s.quick {
		rows, dim = 4, 64
	}
	examples := make([]data.Example, rows)
	for i := range examples {
		b := s.batch(length)
		examples[i] = data.Example{InputIDs: b.Tokens, Labels: b.Targets}
	}
	total := 0
	for _, p := range s.model.Trainable() {
		total += p.Size()
	}
	p, err := gradproj.New(gradproj.Rademacher, dim, 1, total, gradproj.Options{BF16: s.model.BF16()})
	if err != nil {
		return err
	}
	for _, tokens := range slices.Compact([]int{feature.DefaultTokens, max(feature.DefaultTokens, r.Tokens)}) {
		pass := feature.GradientPass{
			Pass:       feature.Pass{Device: s.dev, Model: s.model, Tokens: tokens, Log: slog.New(slog.DiscardHandler)},
			Projection: p, Direction: &feature.Direction{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}, Optimizer: s.adam,
		}
		start := time.Now()
		err := feature.Gradients(context.Background(), pass, examples, 0, func([]int, []float32, []float64) error { return nil })
		if err != nil {
			return err
		}
		r.Select = append(r.Select, Selection{Tokens: tokens, Length: length, Rows: rows, Rate: float64(rows) / time.Since(start).Seconds()})
	}
	return nil
}

func gib(n uint64) float64 { return float64(n) / (1 << 30) }
