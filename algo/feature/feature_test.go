package feature

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/model/optim"
)

// A row's loss is the mean over its labelled tokens, the same alone or in any batch; NaN for
// a row without labels.
func TestLosses(t *testing.T) {
	dev, m := model(t)
	rows := examples(20)
	for i := range rows[7].Labels {
		rows[7].Labels[i] = data.IgnoreIndex
	}
	got, err := Losses(ctx(), pass(dev, m, 40), rows)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		b := batch.Pack(rows, []int{i})
		tokens, err := m.Losses(b.Batch, 0)
		if err != nil {
			t.Fatal(err)
		}
		var sum float64
		n := 0
		for j := 2; j < len(rows[i].InputIDs); j++ { // token j is predicted at j-1
			sum, n = sum+float64(tokens[j-1]), n+1
		}
		want := sum / float64(n)
		switch {
		case i == 7:
			if !math.IsNaN(got[i]) {
				t.Errorf("a row without labels has loss %v", got[i])
			}
		case math.Float64bits(got[i]) != math.Float64bits(want):
			t.Errorf("loss of row %d is %v in a batch, %v alone", i, got[i], want)
		}
	}
}

// Features do not depend on the batches, and a pass skips the rows it was told to, in whatever
// batches they were computed.
func TestGradientsInAnyBatch(t *testing.T) {
	dev, m := model(t)
	rows := examples(15)
	total := 0
	for _, p := range m.Trainable() {
		total += p.Size()
	}
	o, err := optim.NewAdamW(dev, optim.Groups(m.Trainable(), 0), 0.9, 0.999, 1e-8)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	collect := func(tokens, skip int) [][]float32 {
		projection, err := gradproj.New(gradproj.Rademacher, 64, 1, total, gradproj.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := GradientPass{Pass: pass(dev, m, tokens), Projection: projection, Optimizer: o, Direction: &Direction{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, BiasCorrection: true}}
		out := make([][]float32, len(rows))
		before := dev.Used()
		err = Gradients(ctx(), p, rows, skip, func(batch []int, z []float32, _ []float64) error {
			for i, r := range batch {
				out[r] = slices.Clone(z[64*i : 64*i+64])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if tokens == 30 && skip == 3 && dev.Used() != before { // the model's own memory has grown by then
			t.Errorf("the pass kept %d bytes", int64(dev.Used())-int64(before))
		}
		return out
	}
	alone, packed, rest := collect(1, 0), collect(30, 0), collect(30, 3)
	skipped := 0
	for i := range rows {
		if !slices.Equal(alone[i], packed[i]) {
			t.Errorf("the feature of row %d depends on its batch", i)
		}
		if rest[i] == nil {
			skipped++
		} else if !slices.Equal(rest[i], packed[i]) {
			t.Errorf("the feature of row %d depends on where the pass began", i)
		}
	}
	if skipped != 3 {
		t.Errorf("%d rows were skipped, not 3", skipped)
	}
	for _, r := range slices.Concat(batch.ByLength(rows, 30)...)[:3] {
		if rest[r] != nil {
			t.Errorf("row %d, one of the first three, was computed", r)
		}
	}
}

func TestPackedRowsHaveNoGradientFeature(t *testing.T) {
	dev, m := model(t)
	rows := examples(2)
	rows[1].Segments = []int32{0, 2, int32(len(rows[1].InputIDs))}
	err := Gradients(ctx(), GradientPass{Pass: pass(dev, m, 0)}, rows, 0, nil)
	if err == nil || !strings.Contains(err.Error(), "neat_packing") {
		t.Errorf("error %v", err)
	}
}

// Sentence vectors are the hidden states of each row alone, pooled.
func TestVectors(t *testing.T) {
	dev, m := model(t)
	rows := examples(12)
	for _, layer := range []int{0, 1, 2, -1, -3} {
		for _, pooling := range []Pooling{Mean, Last} {
			got, err := Vectors(ctx(), VectorPass{Pass: pass(dev, m, 40), Layer: layer, Pooling: pooling}, rows)
			if err != nil {
				t.Fatal(err)
			}
			for i := range rows {
				h, err := m.Hidden(batch.Pack(rows, []int{i}).Batch, layer)
				if err != nil {
					t.Fatal(err)
				}
				n := len(rows[i].InputIDs)
				for j := range hidden {
					want := float64(h.Host()[(n-1)*hidden+j])
					if pooling == Mean {
						want = 0
						for s := range n {
							want += float64(h.Host()[s*hidden+j]) / float64(n)
						}
					}
					if math.Abs(float64(got.Row(i)[j])-want) > 1e-6 {
						t.Fatalf("layer %d, %s, row %d: [%d] is %v, want %v", layer, pooling, i, j, got.Row(i)[j], want)
					}
				}
			}
		}
	}
	if _, err := Vectors(ctx(), VectorPass{Pass: pass(dev, m, 0), Layer: 3, Pooling: Mean}, rows); err == nil {
		t.Error("a layer that does not exist was read")
	}
	if _, err := Vectors(ctx(), VectorPass{Pass: pass(dev, m, 0), Pooling: "max"}, rows); err == nil {
		t.Error("an unknown pooling was accepted")
	}
}

// A table keeps what was synced when the process is killed; another key starts a new table.
func TestStore(t *testing.T) {
	dir := t.TempDir()
	key := strings.Repeat("ab", 32)
	s, err := OpenStore(t.Context(), nil, dir, key, 5, 2)
	if err != nil {
		t.Fatal(err)
	}
	must(t, s.Put([]int{3, 0}, []float32{1, 2, 3, 4}))
	must(t, s.Sync())
	must(t, s.Put([]int{1}, []float32{5, 6})) // not synced: after a kill this batch is computed again

	// A second run at the same time has a table of its own, which is removed at its end.
	beside, err := OpenStore(t.Context(), nil, dir, key, 5, 2)
	must(t, err)
	if beside.Batches() != 0 {
		t.Errorf("%d batches of another run's table were taken", beside.Batches())
	}
	must(t, beside.Put([]int{2}, []float32{7, 8}))
	row := make([]float32, 2)
	must(t, beside.Row(2, row))
	if row[0] != 7 || row[1] != 8 {
		t.Errorf("row 2 of the second run is %v", row)
	}
	must(t, beside.Close())
	must(t, errors.Join(s.file.Close(), s.release())) // as the kernel does when a process is killed

	again, err := OpenStore(t.Context(), nil, dir, key, 5, 2)
	if err != nil {
		t.Fatal(err)
	}
	if again.Batches() != 1 {
		t.Errorf("%d batches, one was synced", again.Batches())
	}
	must(t, again.Row(0, row))
	if row[0] != 3 || row[1] != 4 {
		t.Errorf("row 0 is %v", row)
	}
	must(t, again.Put([]int{1, 2, 4}, make([]float32, 6)))
	must(t, again.Close())

	// One bit is flipped in a finished row, in the order of rows or in the progress.
	path := filepath.Join(dir, key[:16]+".f32")
	whole, err := os.ReadFile(path)
	must(t, err)
	for name, flip := range map[string]struct {
		at      int64
		batches int
	}{
		"a value": {again.rowAt(0) + 1, 0}, "a row's checksum": {again.rowAt(3) + 8, 0}, "the order": {again.orderAt(1), 0}, "the header": {3, 0},
		"the older progress": {slotAt[1] + 4, 2}, "the newer progress": {slotAt[0] + 4, 1},
	} {
		bad := slices.Clone(whole)
		bad[flip.at] ^= 1
		must(t, os.WriteFile(path, bad, 0o644))
		damaged, err := OpenStore(t.Context(), nil, dir, key, 5, 2)
		must(t, err)
		if damaged.Batches() != flip.batches {
			t.Errorf("%s: %d batches are taken, want %d", name, damaged.Batches(), flip.batches)
		}
		must(t, damaged.Remove())
	}
	must(t, os.WriteFile(path, whole, 0o644))
	if err := again.Row(5, row); err == nil {
		t.Error("a row that does not exist was read")
	}

	for name, other := range map[string]func() (*Store, error){
		"another key": func() (*Store, error) {
			return OpenStore(t.Context(), nil, dir, key[:16]+strings.Repeat("c", 48), 5, 2)
		},
		"another width": func() (*Store, error) { return OpenStore(t.Context(), nil, dir, key, 5, 3) },
		"more rows":     func() (*Store, error) { return OpenStore(t.Context(), nil, dir, key, 6, 2) },
	} {
		o, err := other()
		if err != nil {
			t.Fatal(err)
		}
		if o.Batches() != 0 {
			t.Errorf("%s: %d batches of the old table were taken", name, o.Batches())
		}
		must(t, o.Remove())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TRAK's matrix as recorded from traker on a CPU, read in any order.
func TestTRAK(t *testing.T) {
	raw, err := os.ReadFile("testdata/trak.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Seed   uint64
		Rows   []int
		Blocks map[string][]string
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	source := NewTRAK(want.Seed, 512, []int{0, 40, 62})
	for _, order := range [][]int{{8, 9, 0, 1, 2, 3}, {5, 4, 9, 7, 6, 8}} {
		for _, at := range order {
			for name, b := range map[string]int{"0": 0, "3": 3} {
				var got [2]uint64
				source.Signs(got[:], b, want.Rows[at], 1)
				var text bytes.Buffer
				for j := range 128 {
					text.WriteByte('0' + byte(got[j/64]>>(j%64)&1))
				}
				if text.String() != want.Blocks[name][at] {
					t.Errorf("block %d, row %d:\n%s, want\n%s", b, want.Rows[at], text.String(), want.Blocks[name][at])
				}
			}
		}
	}
}

// A projection to fewer than 128 numbers has a narrower block, and its stream fewer words a
// row: rows 0, 1 and 49 of traker's matrices for seed 42, in any order.
func TestTRAKNarrow(t *testing.T) {
	for dim, want := range map[int]map[int]string{
		5: {0: "11110", 1: "10011", 49: "10010"},
		100: {
			0:  "1111010011110010100110111101111111000111011100110001101011011010110001001101001100010010110011010010",
			1:  "1100001100111110010001110010110011101001101110111010010000011011000001000011111001001001010110110101",
			49: "1011011100100110111001010110000011010100110001100010101010000001110010111010000111110011010001101101",
		},
	} {
		source := NewTRAK(42, dim, []int{0, 40})
		for _, row := range []int{49, 0, 1} {
			var got [2]uint64
			source.Signs(got[:], 0, row, 1)
			for j := range dim {
				if bit := got[j/64] >> (j % 64) & 1; bit != uint64(want[row][j]-'0') {
					t.Errorf("%d columns, row %d, column %d: %d", dim, row, j, bit)
				}
			}
		}
	}
}

func TestInterruption(t *testing.T) {
	dev, m := model(t)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Losses(ended, pass(dev, m, 0), examples(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("losses: %v", err)
	}
	if _, err := Vectors(ended, VectorPass{Pass: pass(dev, m, 0), Pooling: Mean}, examples(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("vectors: %v", err)
	}
}
