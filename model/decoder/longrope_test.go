package decoder

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// longRows is transformers' longrope, each row a batch of one (tools/golden/longrope.py).
type longRows struct {
	Rows   [][]int32
	Losses [][]float32          // of each row's tokens but the last
	Logits [][]float32          // of each row's last position
	Greedy [][]int32            // continuations
	Grads  map[string][]float32 // of the sum of all losses
}

func readLongRows(t *testing.T) (g longRows, m *Model) {
	t.Helper()
	text, err := os.ReadFile("testdata/longrope/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g, open(t, 2, "testdata/longrope")
}

func pack(rows ...[]int32) Batch {
	b := Batch{Segments: []int32{0}}
	for _, r := range rows {
		b.Tokens = append(b.Tokens, r...)
		b.Targets = append(append(b.Targets, r[1:]...), -100)
		b.Segments = append(b.Segments, int32(len(b.Tokens)))
	}
	return b
}

// TestLongRope: every row of a packed batch uses the factors of its own length, in training and
// without gradients, and has the bits that it has alone, whatever length the batch is padded
// to.
func TestLongRope(t *testing.T) {
	g, m := readLongRows(t)
	b := pack(g.Rows...)
	b.PadLen = 24
	losses, err := m.Losses(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	z := logits(t, m, b)
	for i, r := range g.Rows {
		from, last, vocab := b.Segments[i], int(b.Segments[i+1])-1, m.config.Vocab
		if len(r) > 1 {
			within(t, "losses", losses[from:last], g.Losses[i], 1e-5)
		}
		within(t, "logits", z[last*vocab:(last+1)*vocab], g.Logits[i], 1e-5)
		alone, err := m.Losses(pack(r), 0)
		if err != nil {
			t.Fatal(err)
		}
		within(t, "losses alone", alone, losses[from:last+1], 0)
	}
	if err := m.TrainAll(); err != nil {
		t.Fatal(err)
	}
	trained, err := m.Backward(b, Objective{})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "losses of Backward", trained, losses, 0)
	compared := 0
	for _, p := range m.Trainable() {
		if want, ok := g.Grads[p.Name]; ok {
			within(t, p.Name, p.Grad.Host(), want, 1e-4)
			compared++
		}
	}
	if compared != len(g.Grads) || compared < 7 {
		t.Errorf("%d gradients compared of %d", compared, len(g.Grads))
	}
}

// TestLongRopeCache: of sequences that are generated together each changes its factors at its
// own length, and its logits have the bits that they have alone.
func TestLongRopeCache(t *testing.T) {
	g, m := readLongRows(t)
	n, vocab := len(g.Rows), m.config.Vocab
	cache, err := m.NewCache(n, 40)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	slots := make([]int, n)
	for i := range slots {
		slots[i] = i
	}
	z, err := cache.Prefill(slots, g.Rows)
	if err != nil {
		t.Fatal(err)
	}
	own := make([]*Cache, n)
	for step := range g.Greedy[0] {
		z = slices.Clone(z) // valid until the model's next call
		next := make([]int32, n)
		for i := range next {
			row := z[i*vocab : (i+1)*vocab]
			if next[i] = argmax(row); next[i] != g.Greedy[i][step] {
				t.Fatalf("row %d, step %d: token %d, transformers has %d", i, step, next[i], g.Greedy[i][step])
			}
			within(t, "logits alone", aloneStep(t, m, own, g, i, step), row, 0)
		}
		if z, err = cache.Step(slots, next); err != nil {
			t.Fatal(err)
		}
	}
}

// aloneStep continues row i in a cache of its own.
func aloneStep(t *testing.T, m *Model, own []*Cache, g longRows, i, step int) []float32 {
	t.Helper()
	var z []float32
	var err error
	if step == 0 {
		if own[i], err = m.NewCache(1, 40); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(own[i].Close)
		z, err = own[i].Prefill([]int{0}, g.Rows[i:i+1])
	} else {
		z, err = own[i].Step([]int{0}, g.Greedy[i][step-1:step])
	}
	if err != nil {
		t.Fatal(err)
	}
	return z
}
