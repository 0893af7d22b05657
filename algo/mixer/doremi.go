package mixer

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data/hub"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

func init() { algo.RegisterMixer("doremi", newDoReMi) }

// doremi is step 2 of DoReMi: Optimizing Data Mixtures Speeds Up Language Model Pretraining
// (Xie et al., NeurIPS 2023, arXiv:2305.10429, algorithm 1): Group DRO over the domains against a
// reference model. Step 1 trains the reference with mixer static, step 3 the final model with
// mixer static and the averages that step 2 writes. The domains are sampled in equal shares; the
// domains' weights α are in the loss.
//
//	λ_i = Σ_t max(ℓ_θ(t) - ℓ_ref(t), 0) / tokens, over the tokens of domain i
//	α'  = α·exp(η λ);  α ← (1-c) α'/Σα' + c/k
//
// faithful: before every optimizer step, over all its micro-batches; θ is then trained on Σ_i
// α_i (mean loss of domain i) (normalizer: paper), or on α-weighted tokens over the sum of
// their α (normalizer: official). A domain absent from a step keeps its last λ; one never seen
// has the mean of the others (paper) or log V (official). The result is the mean of α over the
// steps. Losses are computed in evaluation mode.
//
// upstream: at every update, from the last micro-batch of the step before; λ is centred over
// the domains present and clipped to ±5; θ is trained unweighted unless reweight_loss is true
// (upstream's reweighting is dead code); the mean is over the updates.
type doremi struct {
	run       *algo.Run
	domains   []algo.Domain
	upstream  bool
	official  bool
	reweight  bool
	eta, c    float64
	reference *decoder.Model
	weights   []float64 // α
	scores    []float64 // λ as last computed
	seen      []bool    // domains for which λ is known
	sum       []float64 // of α over steps, or updates
	count     int
	last      *lastBatch // upstream only
	before    *stepStart // the state before the last weighted step
	journal   journal
	ownLoss   func(b decoder.Batch) ([]float32, error) // per token, of the model being trained
	refLoss   func(b decoder.Batch) ([]float32, error)
}

// stepStart is the state at the start of a step. If the step is repeated without a row whose
// gradient is NaN or Inf, its weights are computed again from there.
type stepStart struct {
	step  int
	state doremiState
}

// lastBatch is a micro-batch by its rows, as stored in a checkpoint.
type lastBatch struct {
	Rows   []int `json:"rows"`
	Domain []int `json:"domain"`
}

func newDoReMi(run *algo.Run, domains []algo.Domain, mode algo.Mode, p *config.Params) (algo.Mixer, error) {
	m := &doremi{
		run: run, domains: domains, upstream: mode == algo.Upstream, journal: newJournal("doremi_weights.jsonl"),
		eta: p.Float("reweight_eta", 1), c: p.Float("reweight_eps", 1e-3),
		weights: uniform(len(domains)), scores: make([]float64, len(domains)),
		seen: make([]bool, len(domains)), sum: make([]float64, len(domains)),
	}
	m.reweight = p.Bool("reweight_loss", !m.upstream)
	normalizer := p.String("normalizer", "paper")
	path := p.Model("reference_model_path")
	if err := p.Err(); err != nil {
		return nil, err
	}
	switch {
	case normalizer != "paper" && normalizer != "official":
		return nil, p.Wrap("normalizer", fmt.Errorf("normalizer is paper or official, not %q", normalizer))
	case m.upstream && normalizer == "official":
		return nil, p.Wrap("normalizer", fmt.Errorf("mode upstream has no normalizer: leave it out, or set mode: faithful"))
	case m.c < 0 || m.c > 1:
		return nil, p.Wrap("reweight_eps", fmt.Errorf("the smoothing is a share between 0 and 1, not %v", m.c))
	case path == "":
		return nil, p.Wrap("reference_model_path", fmt.Errorf("DoReMi compares with a reference model: name the folder that step 1 (mixer static) wrote; without one the weights would only follow entropy"))
	}
	m.official = normalizer == "official"
	if err := m.load(path); err != nil {
		return nil, p.Wrap("reference_model_path", err)
	}
	return m, nil
}

// load reads the reference: a model folder, or that of a LoRA adapter, whose
// adapter_config.json names its base model.
func (m *doremi) load(path string) error {
	base := path
	adapter, err := checkpoint.ReadAdapterConfig(path)
	if err == nil {
		if base, err = hub.Model(adapter.BaseModel, "", ""); err != nil {
			return fmt.Errorf("the model that the adapter %s belongs to: %w", path, err)
		}
	}
	load := decoder.Load
	if m.run.Outline {
		load = func(_ driver.Device, dir string, o decoder.Options) (*decoder.Model, error) {
			return decoder.Outline(dir, o, false)
		}
	}
	ref, err := load(m.run.Device, base, decoder.Options{BF16: m.run.Model.BF16()})
	if err != nil {
		return fmt.Errorf("the reference model cannot be loaded: %w", err)
	}
	if adapter != nil && !m.run.Outline {
		if err := ref.LoadAdapter(path); err != nil {
			ref.Close()
			return fmt.Errorf("the reference model's adapter cannot be loaded: %w", err)
		}
		if err := ref.Merge(); err != nil {
			ref.Close()
			return err
		}
	}
	if have, need := ref.Config().Vocab, m.run.Model.Config().Vocab; have < need {
		ref.Close()
		return fmt.Errorf("the reference model has %d tokens, the model being trained %d: both must have the same tokenizer", have, need)
	}
	m.reference = ref
	m.refLoss = func(b decoder.Batch) ([]float32, error) { return ref.Losses(b, 0) }
	m.ownLoss = func(b decoder.Batch) ([]float32, error) { return m.run.Model.Losses(b, 0) }
	return nil
}

// MemoryBytes is the size of the reference's weights. Its passes run between those of the model
// being trained, so that their working memory need not be added.
func (m *doremi) MemoryBytes() uint64 {
	if m.reference == nil {
		return 0
	}
	return m.reference.Memory(0, 0).Weights
}

// StepWeights is one step of the paper's algorithm; in mode upstream it only returns α.
func (m *doremi) StepWeights(ctx context.Context, step int, micros []algo.MicroReport) ([]float64, error) {
	if m.upstream {
		return m.lossWeights(), nil
	}
	t, err := m.excess(ctx, micros)
	if err != nil {
		return nil, fmt.Errorf("mixer doremi at step %d: %w", step, err)
	}
	if m.before != nil && m.before.step == step {
		m.setState(m.before.state)
		m.journal.rewind(m.before.state.Line)
	}
	m.before = &stepStart{step, m.state()}
	m.score(t)
	m.ascend(m.scores)
	if err := m.record(step); err != nil {
		return nil, err
	}
	if !m.reweight {
		return nil, nil
	}
	return m.perToken(t.tokens), nil
}

// DomainWeights returns α.
func (m *doremi) DomainWeights() []float64 { return slices.Clone(m.weights) }

// Reduction returns algo.MicroMean in mode upstream, where the loss is averaged per micro-batch.
func (m *doremi) Reduction() algo.Reduction {
	if m.upstream {
		return algo.MicroMean
	}
	return algo.TokenMean
}

// lossWeights returns α for the loop; nil if the loss is not weighted.
func (m *doremi) lossWeights() []float64 {
	if !m.reweight {
		return nil
	}
	return append([]float64(nil), m.weights...)
}

// excess sums max(ℓ_θ - ℓ_ref, 0) over the tokens of each domain. The micro-batches are divided
// among the ranks.
func (m *doremi) excess(ctx context.Context, micros []algo.MicroReport) (tally, error) {
	t := newTally(len(m.domains))
	err := m.run.Ranks.Deal(ctx, "losses of the reference model", len(micros), func(i int) ([]byte, error) {
		own, err := micros[i].TokenLoss, error(nil)
		if own == nil {
			if own, err = m.ownLoss(micros[i].Batch); err != nil {
				return nil, err
			}
		}
		ref, err := m.refLoss(micros[i].Batch)
		if err != nil {
			return nil, fmt.Errorf("reference model: %w", err)
		}
		return ranks.Pack(own, ref), nil
	}, func(i int, result []byte) error {
		own, ref := make([]float32, len(micros[i].Tokens)), make([]float32, len(micros[i].Tokens))
		if err := ranks.Unpack(result, own, ref); err != nil {
			return err
		}
		t.add(m.run, micros[i], func(i int) float64 { return math.Max(float64(own[i]-ref[i]), 0) })
		return nil
	})
	return t, err
}

// score stores the mean excess of the domains present as their λ.
func (m *doremi) score(t tally) {
	var sum float64
	present := 0
	for d := range m.domains {
		x, ok := t.mean(d)
		if ok {
			m.scores[d], m.seen[d] = x, true
			sum, present = sum+x, present+1
		}
	}
	for d, seen := range m.seen {
		switch {
		case seen:
		case m.official:
			m.scores[d] = math.Log(float64(m.run.Model.Config().Vocab))
		case present > 0:
			m.scores[d] = sum / float64(present)
		}
	}
}

// ascend is one step of exponentiated gradient ascent on α. The largest score is subtracted
// from all of them only to limit the range of the exponential.
func (m *doremi) ascend(scores []float64) {
	k := float64(len(m.weights))
	largest := math.Inf(-1)
	for _, s := range scores {
		largest = math.Max(largest, m.eta*s)
	}
	for d, s := range scores {
		m.weights[d] *= math.Exp(m.eta*s - largest)
	}
	m.weights = Normalised(m.weights)
	for d := range m.weights {
		m.weights[d] = (1-m.c)*m.weights[d] + m.c/k
	}
	m.weights = Normalised(m.weights)
	for d, a := range m.weights {
		m.sum[d] += a
	}
	m.count++
}

// perToken returns the weight of a token of each domain, given each domain's tokens N_i in the
// step, N in total: α_i N/N_i (normalizer: paper), or α_i N/Σ_j α_j N_j (official).
func (m *doremi) perToken(tokens []int) []float64 {
	var all, weighted float64
	for d, n := range tokens {
		all += float64(n)
		weighted += m.weights[d] * float64(n)
	}
	out := make([]float64, len(tokens))
	for d, n := range tokens {
		switch {
		case n == 0 || weighted == 0:
		case m.official:
			out[d] = m.weights[d] * all / weighted
		default:
			out[d] = m.weights[d] * all / float64(n)
		}
	}
	return out
}

// Observe records the last micro-batch for upstream's next update.
func (m *doremi) Observe(_ context.Context, _ int, micros []algo.MicroReport) error {
	if m.upstream && len(micros) > 0 {
		last := micros[len(micros)-1]
		m.last = &lastBatch{Rows: last.Rows, Domain: last.Domain}
	}
	return nil
}

// Mix requests equal shares of the domains; in mode upstream it updates α first.
func (m *doremi) Mix(ctx context.Context, r algo.MixRequest) (algo.Mixture, error) {
	answer := algo.Mixture{Proportions: uniform(len(m.domains))}
	if m.upstream {
		if err := m.update(ctx, r.Step); err != nil {
			return answer, fmt.Errorf("mixer doremi at step %d: %w", r.Step, err)
		}
	}
	answer.LossWeights = m.lossWeights()
	return answer, nil
}

// update updates α as upstream does: from λ of the last micro-batch, under the current weights.
func (m *doremi) update(ctx context.Context, step int) error {
	if m.last == nil {
		return fmt.Errorf("there is no step before the update to take a batch from: set warmup_step to 1 or more")
	}
	micro := algo.MicroReport{Micro: batch.Pack(m.run.Train, m.last.Rows), Domain: m.last.Domain}
	t, err := m.excess(ctx, []algo.MicroReport{micro})
	if err != nil {
		return err
	}
	for d := range m.scores {
		m.scores[d], m.seen[d] = t.mean(d)
	}
	m.ascend(centred(m.scores, m.seen))
	return m.record(step)
}

// centred returns the scores of the domains present, minus their mean and clipped to ±5, and 0
// for the others.
func centred(scores []float64, present []bool) []float64 {
	var sum float64
	n := 0
	for d, ok := range present {
		if ok {
			sum, n = sum+scores[d], n+1
		}
	}
	out := make([]float64, len(scores))
	for d, ok := range present {
		if ok {
			out[d] = min(max(scores[d]-sum/float64(n), -5), 5)
		}
	}
	return out
}

func (m *doremi) record(step int) error {
	return m.journal.write(step, pyjson.Object{
		{Key: "domain_names", Value: names(m.domains)},
		{Key: "domain_weights", Value: m.weights},
		{Key: "perdomain_scores", Value: m.scores},
	})
}

// average returns the mean of α so far.
func (m *doremi) average() []float64 {
	if m.count == 0 {
		return m.weights
	}
	return Normalised(m.sum)
}

// OutputDir sets the folder of doremi_weights.jsonl.
func (m *doremi) OutputDir(dir string) { m.journal.dir = dir }

// Finish writes the input of step 3, as upstream does, and frees the reference.
func (m *doremi) Finish() error {
	if m.reference != nil {
		m.reference.Close()
		m.reference = nil
	}
	if m.journal.dir == "" {
		return nil
	}
	if err := m.journal.trim(); err != nil {
		return err
	}
	mean := m.average()
	summary := pyjson.Encode(pyjson.Object{
		{Key: "description", Value: "DoReMi Step 2: average domain weights for Step 3"},
		{Key: "update_times", Value: m.count},
		{Key: "domain_names", Value: names(m.domains)},
		{Key: "average_weights", Value: mean},
	}, 2)
	if err := storage.WriteFile(filepath.Join(m.journal.dir, "doremi_average_weights.json"), []byte(summary)); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# DoReMi Step 3 proportions\n# proportions: %s\n", pyjson.Encode(mean, 0))
	for d, domain := range m.domains {
		fmt.Fprintf(&b, "%s: %.6f\n", domain.Name, mean[d])
	}
	return storage.WriteFile(filepath.Join(m.journal.dir, "doremi_step3_proportions.txt"), []byte(b.String()))
}

type doremiState struct {
	Weights []float64  `json:"weights"`
	Scores  []float64  `json:"scores"`
	Seen    []bool     `json:"seen"`
	Sum     []float64  `json:"sum"`
	Count   int        `json:"count"`
	Last    *lastBatch `json:"last,omitempty"`
	Line    int        `json:"line"`
}

// State is α, the last scores, the running average and the last micro-batch.
func (m *doremi) State() (json.RawMessage, error) { return json.Marshal(m.state()) }

// state is a copy, independent of later changes to m.
func (m *doremi) state() doremiState {
	return doremiState{slices.Clone(m.weights), slices.Clone(m.scores), slices.Clone(m.seen), slices.Clone(m.sum), m.count, m.last, m.journal.last}
}

func (m *doremi) setState(s doremiState) {
	m.weights, m.scores, m.seen, m.sum = slices.Clone(s.Weights), slices.Clone(s.Scores), slices.Clone(s.Seen), slices.Clone(s.Sum)
	m.count, m.last = s.Count, s.Last
}

// Restore restores State.
func (m *doremi) Restore(raw json.RawMessage) error {
	var s doremiState
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	k := len(m.domains)
	if len(s.Weights) != k || len(s.Scores) != k || len(s.Seen) != k || len(s.Sum) != k {
		return fmt.Errorf("the checkpoint has %d domains, this run has %d", len(s.Weights), k)
	}
	m.setState(s)
	m.journal.last = s.Line
	return nil
}
