package mixer

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/pyjson"
)

func init() { algo.RegisterMixer("odm", newODM) }

// odm is Online Data Mixing (Albalak et al. 2023, arXiv:2312.02406): an Exp3 bandit
// whose arms are the domains and whose reward is their loss.
//
//	ε_t = min(1/K, √(ln K/(K t))), t counted from the end of warmup_steps
//	π_t = (1-K ε_t)·softmax(ε_{t-1} R̂) + ε_t
//	R̂_i ← α R̂_i + (1-α)·L_i/π_i
//
// faithful: L_i is the mean loss of domain i's tokens over a whole optimizer step, R̂ is
// updated at every step in which the domain appears (warm-up included), π is the current
// mixture. variant: official follows the authors' program: R̂_i ← α R̂_i + (1-α)·exp(L_i), and
// R̂/ΣR̂ instead of the softmax. reward_scale and min_exploration_rate are upstream's and have
// no effect, in either mode.
//
// upstream: R̂ is updated only at updates, for the domain of the first row of the last
// micro-batch before (of the most rows with first_sample: false), with its returned loss times
// 15; ε_t is at least 0.03; ε R̂ minus its maximum is clipped to -5. These two are the defaults
// of reward_scale and min_exploration_rate: upstream's registry passes a component only the
// parameters that its constructor names, and ODM's takes these two as keywords, so that what
// components.yaml says of them never arrives.
type odm struct {
	run         *algo.Run
	domains     []algo.Domain
	upstream    bool
	official    bool
	firstSample bool
	alpha       float64
	warmup      int
	given       bool // initial_proportions was given
	initial     []float64
	policy      []float64 // π
	rewards     []float64 // R̂
	epsilon     float64
	last        *lastReward // upstream only
	journal     journal
}

// lastReward is upstream's prev_batch_info.
type lastReward struct {
	Domain int     `json:"domain"`
	Loss   float64 `json:"loss"`
}

func newODM(run *algo.Run, domains []algo.Domain, mode algo.Mode, p *config.Params) (algo.Mixer, error) {
	k := len(domains)
	m := &odm{
		run: run, domains: domains, upstream: mode == algo.Upstream, journal: newJournal("odm_weights.jsonl"),
		alpha: p.Float("alpha", 0.9), warmup: p.Int("warmup_steps", 2000),
		initial: uniform(k), rewards: make([]float64, k), epsilon: 1 / float64(k),
	}
	scale, floor := p.Float("reward_scale", odmScale), p.Float("min_exploration_rate", odmFloor)
	variant := "paper"
	if m.upstream {
		m.firstSample = p.Bool("first_sample", true)
	} else {
		variant = p.String("variant", "paper")
	}
	initial := p.Floats("initial_proportions", nil)
	if err := p.Err(); err != nil {
		return nil, err
	}
	switch variant {
	case "paper":
	case "official", "official-exp":
		m.official = true
	default:
		return nil, p.Wrap("variant", fmt.Errorf("variant is paper or official, not %q", variant))
	}
	if m.alpha < 0 || m.alpha > 1 {
		return nil, p.Wrap("alpha", fmt.Errorf("the smoothing is between 0 and 1, not %v", m.alpha))
	}
	if initial != nil {
		if err := m.start(initial); err != nil {
			if !m.upstream || len(initial) == k {
				return nil, p.Wrap("initial_proportions", err)
			}
			run.Log.Warn("initial_proportions do not fit the datasets: starting with equal shares, as upstream does", "given", len(initial), "datasets", k)
		}
		m.given = true
	}
	if m.upstream && (scale != odmScale || floor != odmFloor) {
		run.Log.Warn("upstream's odm never receives reward_scale and min_exploration_rate: mode upstream goes on with its defaults, too", "reward_scale", odmScale, "min_exploration_rate", odmFloor)
	}
	m.policy = append([]float64(nil), m.initial...)
	return m, nil
}

// What upstream multiplies a reward by, and its least exploration rate.
const (
	odmScale = 15.0
	odmFloor = 0.03
)

func (m *odm) start(initial []float64) error {
	shares, err := proportions(initial, len(m.domains))
	if err == nil {
		m.initial = shares
	}
	return err
}

// SetInitial sets the run's proportions, unless the component has its own.
func (m *odm) SetInitial(initial []float64) error {
	if m.given || initial == nil {
		return nil
	}
	if err := m.start(initial); err != nil {
		return err
	}
	m.policy = append([]float64(nil), m.initial...)
	return nil
}

// Observe updates the rewards; upstream it only records those of the last micro-batch.
func (m *odm) Observe(_ context.Context, _ int, micros []algo.MicroReport) error {
	if m.upstream {
		if len(micros) > 0 {
			last := micros[len(micros)-1]
			m.last = &lastReward{Domain: m.attribute(last.Domain), Loss: last.Returned}
		}
		return nil
	}
	t := newTally(len(m.domains))
	for _, micro := range micros {
		t.add(m.run, micro, func(i int) float64 { return float64(micro.TokenLoss[i]) })
	}
	for d := range m.domains {
		if loss, ok := t.mean(d); ok {
			m.learn(d, loss)
		}
	}
	return nil
}

// attribute is the domain to which a mixed micro-batch is attributed.
func (m *odm) attribute(rows []int) int {
	if m.firstSample {
		return rows[0]
	}
	count := make([]int, len(m.domains))
	most := 0
	for _, d := range rows {
		count[d]++
	}
	for d, n := range count {
		if n > count[most] {
			most = d
		}
	}
	return most
}

// learn updates the estimated reward of a domain with its loss.
func (m *odm) learn(d int, loss float64) {
	const limit = 1e4 // upstream's
	reward := loss / math.Max(m.policy[d], 1e-8)
	switch {
	case m.official:
		reward = math.Exp(loss)
	case m.upstream:
		reward = loss * odmScale / math.Max(m.policy[d], 1e-8)
	}
	estimate := m.alpha*m.rewards[d] + (1-m.alpha)*reward
	if math.IsNaN(estimate) || math.IsInf(estimate, 0) {
		m.run.Log.Warn("odm: a loss that is not finite is left out", "domain", m.domains[d].Name, "loss", loss)
		return
	}
	if m.upstream {
		estimate = min(max(estimate, -limit), limit)
	}
	m.rewards[d] = estimate
}

// rate is ε_t.
func (m *odm) rate(t int) float64 {
	k := float64(len(m.domains))
	if t <= 0 {
		return 1 / k
	}
	e := min(1/k, math.Sqrt(math.Log(k)/(k*float64(t))))
	if m.upstream {
		return max(e, odmFloor)
	}
	return e
}

// Mix is the policy at a step.
func (m *odm) Mix(_ context.Context, r algo.MixRequest) (algo.Mixture, error) {
	if r.Step <= m.warmup {
		if r.Update == 1 {
			m.run.Log.Info("odm keeps its initial proportions at first (warmup_steps)", "until_step", m.warmup)
		}
		return m.answer(m.initial), nil
	}
	t := r.Step - m.warmup
	previous := m.rate(t - 1)
	if m.upstream {
		if m.last != nil {
			m.learn(m.last.Domain, m.last.Loss)
		}
		previous = m.epsilon // of the previous update, not of the previous step
	}
	m.epsilon = m.rate(t)
	m.policy = m.mixed(m.preferences(previous))
	if err := m.record(r.Step); err != nil {
		return algo.Mixture{}, err
	}
	return m.answer(m.policy), nil
}

func (m *odm) answer(p []float64) algo.Mixture {
	return algo.Mixture{Proportions: append([]float64(nil), p...)}
}

// preferences is the share of each domain before exploration.
func (m *odm) preferences(epsilon float64) []float64 {
	w := make([]float64, len(m.rewards))
	if m.official {
		copy(w, m.rewards)
		if total(w) == 0 {
			return uniform(len(w))
		}
		return Normalised(w)
	}
	largest := math.Inf(-1)
	for _, r := range m.rewards {
		largest = math.Max(largest, epsilon*r)
	}
	for d, r := range m.rewards {
		x := epsilon*r - largest
		if m.upstream {
			x = max(x, -5)
		}
		w[d] = math.Exp(x)
	}
	return Normalised(w)
}

// mixed mixes in exploration: every domain gets at least ε.
func (m *odm) mixed(w []float64) []float64 {
	rest := max(0, 1-float64(len(w))*m.epsilon)
	for d := range w {
		w[d] = w[d]*rest + m.epsilon
	}
	return Normalised(w)
}

func (m *odm) record(step int) error {
	return m.journal.write(step, pyjson.Object{
		{Key: "domain_names", Value: names(m.domains)},
		{Key: "domain_weights", Value: m.policy},
		{Key: "estimated_rewards", Value: m.rewards},
		{Key: "exploration_rate", Value: m.epsilon},
		{Key: "alpha", Value: m.alpha},
	})
}

// OutputDir sets the folder of odm_weights.jsonl.
func (m *odm) OutputDir(dir string) { m.journal.dir = dir }

// Finish trims the file's leftovers of an earlier run.
func (m *odm) Finish() error { return m.journal.trim() }

type odmState struct {
	Policy  []float64   `json:"policy"`
	Rewards []float64   `json:"rewards"`
	Epsilon float64     `json:"epsilon"`
	Last    *lastReward `json:"last,omitempty"`
	Line    int         `json:"line"`
}

// State is the policy and the rewards.
func (m *odm) State() (json.RawMessage, error) {
	return json.Marshal(odmState{m.policy, m.rewards, m.epsilon, m.last, m.journal.last})
}

// Restore restores State.
func (m *odm) Restore(raw json.RawMessage) error {
	var s odmState
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	if len(s.Policy) != len(m.domains) || len(s.Rewards) != len(m.domains) {
		return fmt.Errorf("the checkpoint has %d domains, this run has %d", len(s.Policy), len(m.domains))
	}
	m.policy, m.rewards, m.epsilon, m.last = s.Policy, s.Rewards, s.Epsilon, s.Last
	m.journal.last = s.Line
	return nil
}
