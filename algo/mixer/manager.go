package mixer

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data/rng"
)

// The values of mixture_sample_rule.
const (
	Mixture    = "mixture"    // the requested proportions, or equal shares if there are none
	Stratified = "stratified" // by the domains' sizes, whatever is requested
	Uniform    = "uniform"    // equal shares, whatever is requested
)

// Manager turns proportions into the rows of a window, as upstream's MixedProportionManager
// does: one NumPy default_rng for the whole run; domain i gets ⌊N·p_i⌋ rows and the last domain
// the rest, each drawn with replacement; then all rows are permuted.
type Manager struct {
	domains []algo.Domain
	rule    string
	initial []float64 // nil where the run names none
	owner   map[int]int
	stream  *rng.PCG64
}

// NewManager returns the Manager of a run. rule "" means Mixture; initial are the run's
// init_mixture_proportions, nil for none.
func NewManager(domains []algo.Domain, rule string, initial []float64, seed uint64) (*Manager, error) {
	if len(domains) == 0 {
		return nil, fmt.Errorf("a mixture needs at least one dataset")
	}
	m := &Manager{domains: domains, rule: rule, owner: map[int]int{}, stream: rng.NewPCG64(seed)}
	switch rule {
	case "":
		m.rule = Mixture
	case Mixture, Stratified, Uniform:
	default:
		return nil, fmt.Errorf("mixture_sample_rule: there is no rule %q; there are %s", rule, strings.Join([]string{Mixture, Stratified, Uniform}, ", "))
	}
	for i, d := range domains {
		if len(d.Rows) == 0 {
			return nil, fmt.Errorf("dataset %s has no rows to mix: remove it from dataset, or see the warnings about dropped rows", d.Name)
		}
		for _, r := range d.Rows {
			m.owner[r] = i
		}
	}
	if initial != nil {
		p, err := proportions(initial, len(domains))
		if err != nil {
			return nil, fmt.Errorf("init_mixture_proportions: %w", err)
		}
		m.initial = p
	}
	return m, nil
}

// DomainOf returns the domain of a position in Run.Train, or -1 if the row has none.
func (m *Manager) DomainOf(row int) int {
	if d, ok := m.owner[row]; ok {
		return d
	}
	return -1
}

// Initial returns the run's own proportions scaled to sum to 1, nil if there are none: the
// argument of algo.Starter.SetInitial.
func (m *Manager) Initial() []float64 { return m.initial }

// Shares returns the proportions that the rule uses when p is requested; nil requests the
// initial proportions. A p that is not a distribution is replaced by equal shares.
func (m *Manager) Shares(p []float64) []float64 {
	k := len(m.domains)
	switch m.rule {
	case Uniform:
		return uniform(k)
	case Stratified:
		sizes := make([]float64, k)
		for i, d := range m.domains {
			sizes[i] = float64(len(d.Rows))
		}
		return Normalised(sizes)
	}
	if p == nil {
		p = m.initial
	}
	if p == nil {
		return uniform(k)
	}
	if len(p) != k {
		panic(fmt.Sprintf("mixer: %d proportions for %d domains", len(p), k))
	}
	if t := total(p); !(t > 0) || math.IsInf(t, 1) {
		return uniform(k)
	}
	return Normalised(p)
}

// Counts splits n rows: ⌊n·p_i⌋ for each domain, the remainder for the last.
func (m *Manager) Counts(p []float64, n int) []int {
	shares := m.Shares(p)
	counts := make([]int, len(shares))
	rest := n
	for i := range len(shares) - 1 {
		counts[i] = min(int(math.Floor(float64(n)*shares[i])), rest)
		rest -= counts[i]
	}
	counts[len(counts)-1] = rest
	return counts
}

// Snapshot draws the n rows of a window: positions in Run.Train, in permuted order; the loop
// shuffles them again, as it does with any window. p nil requests the initial proportions.
func (m *Manager) Snapshot(p []float64, n int) []int {
	table := make([]int, 0, n)
	for i, take := range m.Counts(p, n) {
		rows := m.domains[i].Rows
		picks, err := m.stream.Choice(len(rows), take, true, nil)
		if err != nil {
			panic("mixer: " + err.Error()) // every domain has rows, and take is not negative
		}
		for _, j := range picks {
			table = append(table, rows[j])
		}
	}
	out := make([]int, n)
	for i, j := range m.stream.Permutation(n) {
		out[i] = table[j]
	}
	return out
}

type managerState struct {
	Stream []byte `json:"stream"`
}

// State is the random stream.
func (m *Manager) State() (json.RawMessage, error) {
	return json.Marshal(managerState{m.stream.State()})
}

// Restore restores the random stream.
func (m *Manager) Restore(raw json.RawMessage) error {
	var s managerState
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("mixture: %w", err)
	}
	return m.stream.SetState(s.Stream)
}
