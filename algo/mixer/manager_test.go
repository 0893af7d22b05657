package mixer

import (
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
)

// domainsOf makes domains of the given sizes over consecutive rows.
func domainsOf(sizes ...int) []algo.Domain {
	var out []algo.Domain
	next := 0
	for i, n := range sizes {
		d := algo.Domain{Name: string(rune('a' + i))}
		for range n {
			d.Rows = append(d.Rows, next)
			next++
		}
		out = append(out, d)
	}
	return out
}

func manager(t *testing.T, domains []algo.Domain, rule string, initial []float64) *Manager {
	t.Helper()
	m, err := NewManager(domains, rule, initial, 42)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSnapshot compares with NumPy 1.26: default_rng(42), choice(size, n, True) for each
// domain in turn, permutation of the table.
func TestSnapshot(t *testing.T) {
	m := manager(t, domainsOf(10, 20, 5), "", []float64{0.5, 0.3, 0.2})
	for i, want := range [][]int{
		{4, 32, 6, 14, 8, 34, 23, 11, 30, 4, 0, 7},
		{26, 34, 30, 32, 32, 18, 31, 30, 32, 32, 34, 6},
	} {
		p := [][]float64{nil, {0.1, 0.2, 0.7}}[i]
		if got := m.Snapshot(p, 12); !slices.Equal(got, want) {
			t.Errorf("window %d: %v, NumPy %v", i, got, want)
		}
	}
}

func TestShares(t *testing.T) {
	domains := domainsOf(10, 30)
	asked := []float64{3, 1}
	for _, c := range []struct {
		rule    string
		initial []float64
		p, want []float64
	}{
		{"", nil, nil, []float64{0.5, 0.5}},
		{"mixture", []float64{1, 3}, nil, []float64{0.25, 0.75}},
		{"mixture", []float64{1, 3}, asked, []float64{0.75, 0.25}},
		{"stratified", []float64{1, 3}, asked, []float64{0.25, 0.75}},
		{"uniform", []float64{1, 3}, asked, []float64{0.5, 0.5}},
		{"mixture", nil, []float64{0, 0}, []float64{0.5, 0.5}},
	} {
		algotest.Near(t, c.rule, manager(t, domains, c.rule, c.initial).Shares(c.p), c.want, 1e-15)
	}
}

// TestCounts: every domain but the last is rounded down, the last gets the rest.
func TestCounts(t *testing.T) {
	m := manager(t, domainsOf(1, 1, 1), "", nil)
	for _, c := range []struct {
		p    []float64
		n    int
		want []int
	}{
		{nil, 10, []int{3, 3, 4}},
		{[]float64{0.5, 0.3, 0.2}, 12, []int{6, 3, 3}},
		{[]float64{1, 0, 0}, 7, []int{7, 0, 0}},
		{[]float64{0, 0, 1}, 7, []int{0, 0, 7}},
	} {
		if got := m.Counts(c.p, c.n); !slices.Equal(got, c.want) {
			t.Errorf("%v of %d: %v, want %v", c.p, c.n, got, c.want)
		}
	}
	// A domain of one row is drawn again and again.
	if got := m.Snapshot([]float64{1, 0, 0}, 3); !slices.Equal(got, []int{0, 0, 0}) {
		t.Errorf("one-row domain: %v", got)
	}
}

func TestManagerResumes(t *testing.T) {
	domains := domainsOf(10, 20, 5)
	one := manager(t, domains, "", nil)
	one.Snapshot(nil, 7)
	state, err := one.State()
	if err != nil {
		t.Fatal(err)
	}
	other := manager(t, domains, "", nil)
	if err := other.Restore(state); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if a, b := one.Snapshot(nil, 9), other.Snapshot(nil, 9); !slices.Equal(a, b) {
			t.Fatalf("%v after resuming, %v without", b, a)
		}
	}
}

func TestManagerRefuses(t *testing.T) {
	for _, c := range []struct {
		domains []algo.Domain
		rule    string
		initial []float64
		want    string
	}{
		{nil, "", nil, "at least one dataset"},
		{domainsOf(2, 0), "", nil, "dataset b has no rows"},
		{domainsOf(2, 2), "mixed", nil, `no rule "mixed"; there are mixture, stratified, uniform`},
		{domainsOf(2, 2), "", []float64{1}, "init_mixture_proportions: 1 shares for 2 domains"},
		{domainsOf(2, 2), "", []float64{-1, 2}, "a share must be a number >= 0"},
		{domainsOf(2, 2), "", []float64{0, 0}, "must not all be 0"},
	} {
		if _, err := NewManager(c.domains, c.rule, c.initial, 1); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.want, err)
		}
	}
	m := manager(t, domainsOf(2, 2), "", nil)
	if m.DomainOf(3) != 1 || m.DomainOf(4) != -1 {
		t.Errorf("row 3 is of domain %d, row 4 of %d", m.DomainOf(3), m.DomainOf(4))
	}
}
