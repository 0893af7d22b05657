package mixer

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/model/decoder"
)

func init() { algo.RegisterMixer("dynamic_moe", newDynamicMoE) }

// dynamicMoE weighs domains by how differently they use the experts of a mixture of experts
// (Zhu et al., Dynamic Data Mixing Maximizes Instruction Tuning for Mixture-of-Experts, 2024,
// arXiv:2406.11256):
//
//	o_i = the experts' shares of the last router's probabilities over domain i's
//	      evaluation rows
//	Δ_i = mean over j of |o_i - o_j|₂, j = i included
//	w ← (1-c)·softmax(log w + η Δ) + c/D
//
// A domain's evaluation rows are those of its mixer_eval_dataset, else up to eval_samples, at
// most half, of its own rows, set aside by RandomState(0); collect_steps × eval_batch_size of
// them are evaluated, the same at every update (RandomState(42)). Both modes are the same;
// unlike upstream the rows set aside are never drawn for training.
type dynamicMoE struct {
	run       *algo.Run
	domains   []algo.Domain // after Domains, without the rows set aside
	eta, c    float64
	samples   int // maximum number of rows set aside per domain
	collect   int // rows evaluated per domain
	external  map[string][]data.Example
	eval      [][]data.Example // per domain; nil before split
	evaluated [][]data.Example // per domain: the rows evaluated
	probes    [][]batch.Micro  // per domain: the same rows, packed
	weights   []float64
	journal   journal
	loads     func(b decoder.Batch) ([][]float64, error)
}

func newDynamicMoE(run *algo.Run, domains []algo.Domain, _ algo.Mode, p *config.Params) (algo.Mixer, error) {
	m := &dynamicMoE{
		run: run, domains: domains, eta: p.Float("eta", 10), c: p.Float("c", 0.05), samples: p.Int("eval_samples", 1000),
		weights: uniform(len(domains)), journal: newJournal("dynamic_moe_weights.jsonl"),
	}
	steps, size := p.Int("collect_steps", 10), p.Int("eval_batch_size", 32)
	if err := p.Err(); err != nil {
		return nil, err
	}
	switch {
	case m.c < 0 || m.c > 1:
		return nil, p.Wrap("c", fmt.Errorf("the smoothing is a share between 0 and 1, not %v", m.c))
	case steps < 1:
		return nil, p.Wrap("collect_steps", fmt.Errorf("at least one batch must be evaluated, not %d", steps))
	case size < 1:
		return nil, p.Wrap("eval_batch_size", fmt.Errorf("a batch has at least one row, not %d", size))
	case run.Model.Config().MoE.Experts == 0:
		return nil, p.Wrap("name", fmt.Errorf("dynamic_moe measures the gates of a mixture of experts, but this model (%s) has none", run.Model.Config().ModelType))
	}
	m.collect = steps * size
	m.loads = run.Model.GateLoads
	return m, nil
}

// SetEval sets the rows of mixer_eval_dataset by domain name.
func (m *dynamicMoE) SetEval(rows map[string][]data.Example) { m.external, m.eval = rows, nil }

// Domains are the domains without the rows set aside for evaluation.
func (m *dynamicMoE) Domains() []algo.Domain {
	if m.eval == nil {
		m.split()
	}
	return m.domains
}

// split sets evaluation rows aside for domains without any of their own. A domain with one row
// is evaluated on its training row.
func (m *dynamicMoE) split() {
	g := rng.NewRandomState(0)
	left := slices.Clone(m.domains)
	m.eval = make([][]data.Example, len(left))
	for d, domain := range m.domains {
		if rows := m.external[domain.Name]; len(rows) > 0 {
			m.eval[d] = rows
			continue
		}
		n := min(m.samples, len(domain.Rows)/2)
		if n <= 0 {
			m.run.Log.Warn("dynamic_moe: too few rows to set any aside: evaluating on the training rows", "domain", domain.Name, "rows", len(domain.Rows))
			m.eval[d] = m.rows(domain.Rows)
			continue
		}
		order := g.Permutation(len(domain.Rows))
		aside, kept := order[:n], order[n:]
		slices.Sort(aside)
		slices.Sort(kept)
		m.eval[d] = m.rows(at(domain.Rows, aside))
		left[d].Rows = at(domain.Rows, kept)
	}
	m.domains = left
}

func (m *dynamicMoE) rows(positions []int) []data.Example {
	out := make([]data.Example, len(positions))
	for i, r := range positions {
		out[i] = m.run.Train[r]
	}
	return out
}

func at(x, indices []int) []int {
	out := make([]int, len(indices))
	for i, j := range indices {
		out[i] = x[j]
	}
	return out
}

// probe packs the rows to evaluate. Loads are sums over tokens, so that the batching of rows
// does not matter.
func (m *dynamicMoE) probe() error {
	if m.probes != nil {
		return nil
	}
	m.Domains()
	g := rng.NewRandomState(42)
	probes, evaluated := make([][]batch.Micro, len(m.eval)), make([][]data.Example, len(m.eval))
	for d, rows := range m.eval {
		picks, err := g.Choice(len(rows), min(len(rows), m.collect), false, nil)
		if err != nil {
			return fmt.Errorf("evaluation rows of %s: %w", m.domains[d].Name, err)
		}
		chosen := make([]data.Example, len(picks))
		for i, j := range picks {
			chosen[i] = rows[j]
		}
		for _, group := range batch.ByLength(chosen, feature.DefaultTokens) {
			probes[d] = append(probes[d], batch.Pack(chosen, group))
		}
		evaluated[d] = chosen
	}
	m.probes, m.evaluated = probes, evaluated
	return nil
}

// gateLoads returns every domain's o_i. The micro-batches of a domain are divided among the
// ranks.
func (m *dynamicMoE) gateLoads(ctx context.Context) ([][]float64, error) {
	if err := m.probe(); err != nil {
		return nil, err
	}
	out := make([][]float64, len(m.probes))
	for d, micros := range m.probes {
		err := m.run.Ranks.Deal(ctx, "loads of gates", len(micros), func(i int) ([]byte, error) {
			load, err := m.load(micros[i], m.evaluated[d])
			if err != nil {
				return nil, fmt.Errorf("gates on %s: %w", m.domains[d].Name, err)
			}
			return ranks.Pack(load), nil
		}, func(_ int, result []byte) error {
			load := make([]float64, len(result)/8)
			if err := ranks.Unpack(result, load); err != nil {
				return err
			}
			if out[d] == nil {
				out[d] = make([]float64, len(load))
			}
			for e, x := range load {
				out[d][e] += x
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if total(out[d]) == 0 {
			return nil, fmt.Errorf("gates on %s: those of all its %d rows are NaN or Inf", m.domains[d].Name, len(m.evaluated[d]))
		}
		out[d] = Normalised(out[d])
	}
	return out, nil
}

// load returns the sum of the last router's probabilities, per expert. A row that makes it NaN
// or Inf is left out and named in the log.
func (m *dynamicMoE) load(micro batch.Micro, rows []data.Example) ([]float64, error) {
	loads, err := m.loads(micro.Batch)
	if err != nil {
		return nil, err
	}
	last := loads[len(loads)-1]
	sum := make([]float64, len(last))
	for e, share := range last {
		sum[e] = share * float64(len(micro.Tokens))
	}
	if x := total(sum); !math.IsNaN(x) && !math.IsInf(x, 0) {
		return sum, nil
	}
	clear(sum)
	if len(micro.Rows) == 1 {
		id := rows[micro.Rows[0]].ID
		m.run.Log.Warn("a row's gate loads are not finite: it is left out of its domain", "dataset", id.Dataset, "row", id.Row)
		return sum, nil
	}
	for _, row := range micro.Rows {
		alone, err := m.load(batch.Pack(rows, []int{row}), rows)
		if err != nil {
			return nil, err
		}
		for e, x := range alone {
			sum[e] += x
		}
	}
	return sum, nil
}

// distances is every Δ_i.
func distances(o [][]float64) []float64 {
	delta := make([]float64, len(o))
	for i := range o {
		for j := range o {
			var square float64
			for e := range o[i] {
				square += (o[i][e] - o[j][e]) * (o[i][e] - o[j][e])
			}
			delta[i] += math.Sqrt(square) / float64(len(o))
		}
	}
	return delta
}

// shift updates w with the distances and also returns the softmax before smoothing.
func (m *dynamicMoE) shift(delta []float64) (alpha []float64) {
	logits := make([]float64, len(delta))
	largest := math.Inf(-1)
	for d, x := range delta {
		logits[d] = math.Log(m.weights[d]+1e-10) + m.eta*x
		largest = math.Max(largest, logits[d])
	}
	for d := range logits {
		logits[d] = math.Exp(logits[d] - largest)
	}
	alpha = Normalised(logits)
	w := make([]float64, len(alpha))
	for d, a := range alpha {
		w[d] = (1-m.c)*a + m.c/float64(len(alpha))
	}
	m.weights = Normalised(w)
	return alpha
}

// Mix measures the loads of the gates and updates the weights.
func (m *dynamicMoE) Mix(ctx context.Context, r algo.MixRequest) (algo.Mixture, error) {
	o, err := m.gateLoads(ctx)
	if err != nil {
		return algo.Mixture{}, fmt.Errorf("mixer dynamic_moe at step %d: %w", r.Step, err)
	}
	delta := distances(o)
	alpha := m.shift(delta)
	if err := m.record(r.Step, o, delta, alpha); err != nil {
		return algo.Mixture{}, err
	}
	return algo.Mixture{Proportions: slices.Clone(m.weights)}, nil
}

func (m *dynamicMoE) record(step int, o [][]float64, delta, alpha []float64) error {
	var loads, deltas, alphas, weights pyjson.Object
	for d, domain := range m.domains {
		loads.Set(domain.Name, o[d])
		deltas.Set(domain.Name, delta[d])
		alphas.Set(domain.Name, alpha[d])
		weights.Set(domain.Name, m.weights[d])
	}
	return m.journal.write(step, pyjson.Object{
		{Key: "domain_names", Value: names(m.domains)},
		{Key: "gate_loads", Value: loads},
		{Key: "delta", Value: deltas},
		{Key: "alpha", Value: alphas},
		{Key: "new_weights", Value: weights},
		{Key: "eta", Value: m.eta},
		{Key: "c", Value: m.c},
	})
}

// OutputDir sets the folder of dynamic_moe_weights.jsonl.
func (m *dynamicMoE) OutputDir(dir string) { m.journal.dir = dir }

// Finish trims the file's leftovers of an earlier run.
func (m *dynamicMoE) Finish() error { return m.journal.trim() }

type moeState struct {
	Weights []float64 `json:"weights"`
	Line    int       `json:"line"`
}

// State is the weights; the rows set aside follow from the seed.
func (m *dynamicMoE) State() (json.RawMessage, error) {
	return json.Marshal(moeState{m.weights, m.journal.last})
}

// Restore restores the weights.
func (m *dynamicMoE) Restore(raw json.RawMessage) error {
	var s moeState
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	if len(s.Weights) != len(m.domains) {
		return fmt.Errorf("the checkpoint has %d domains, this run has %d", len(s.Weights), len(m.domains))
	}
	m.weights, m.journal.last = s.Weights, s.Line
	return nil
}
