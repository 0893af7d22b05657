package mixer

import (
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/cache"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

type recording struct {
	Micro []struct {
		Step     int       `json:"step"`
		Domain   []int     `json:"domain_id"`
		Heads    [][]int32 `json:"input_ids_head"`
		Returned float64   `json:"loss_returned"`
	} `json:"micro_batches"`
	Selections []struct {
		Step        int       `json:"step_id"`
		Proportions []float64 `json:"proportions"`
	} `json:"selections"`
}

// recordedDomains tokenises the three data sets of the mix_* runs.
func recordedDomains(t *testing.T) ([]data.Example, []algo.Domain) {
	t.Helper()
	tok, err := tokenizer.Load(filepath.Join(algotest.Golden, "models/tiny-llama"))
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := template.FromChatTemplate(tok)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.FixTokenizer(tok)
	packing := true
	var train []data.Example
	var domains []algo.Domain
	for _, name := range []string{"c4", "github", "stackexchange"} {
		rows := algotest.RecordedRows(t, cache.Options{
			Train: []string{name}, Tokenizer: tok, Template: tmpl, Pretrain: true,
			Process: processor.Options{CutoffLen: 256, Packing: &packing, Workers: 1},
		})
		d := algo.Domain{Name: name}
		for range rows {
			d.Rows = append(d.Rows, len(train)+len(d.Rows))
		}
		domains = append(domains, d)
		train = append(train, rows...)
	}
	return train, domains
}

// TestSnapshotAsRecorded draws the windows of upstream's own runs: the rows of every
// micro-batch, in order.
func TestSnapshotAsRecorded(t *testing.T) {
	const batch, seed = 4, 42
	algotest.Trace[recording](t, "mix_random")
	train, domains := recordedDomains(t)
	for _, run := range []string{"mix_static", "mix_random", "mix_doremi", "mix_odm"} {
		r := algotest.Trace[recording](t, run)
		m, err := NewManager(domains, "mixture", []float64{0.5, 0.3, 0.2}, seed)
		if err != nil {
			t.Fatal(err)
		}
		opening := map[int][]float64{0: nil}
		for _, s := range r.Selections {
			opening[s.Step] = s.Proportions
		}
		steps := 3
		if len(r.Selections) == 0 {
			steps = 12 // static_mix: one window
		}
		for start := 0; start < 12; start += steps {
			window := m.Snapshot(opening[start], steps*batch)
			order := rng.NewTorch(seed).Randperm(len(window))
			for i, j := range order {
				got := r.Micro[start+i/batch]
				row := window[j]
				if d := got.Domain[i%batch]; m.DomainOf(row) != d {
					t.Fatalf("%s step %d row %d: domain %d, recorded %d", run, start+i/batch, i%batch, m.DomainOf(row), d)
				}
				if head := got.Heads[i%batch]; !slices.Equal(train[row].InputIDs[:len(head)], head) {
					t.Fatalf("%s step %d row %d: tokens %v, recorded %v", run, start+i/batch, i%batch, train[row].InputIDs[:len(head)], head)
				}
			}
		}
	}
}
