package batch_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
)

// TestCut: groups are neighbours, take in as many as fit, and hold everything once.
func TestCut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		sizes, most := make([]int, r.IntN(9)), r.IntN(30)
		for i := range sizes {
			sizes[i] = 1 + r.IntN(20)
		}
		from, ends := 0, batch.Cut(sizes, most)
		for _, end := range ends {
			sum := 0
			for _, n := range sizes[from:end] {
				sum += n
			}
			if end <= from || sum > most && end-from > 1 || end < len(sizes) && sum+sizes[end] <= most {
				t.Fatalf("%v, at most %d: %v", sizes, most, ends)
			}
			from = end
		}
		if from != len(sizes) {
			t.Fatalf("%v: %v", sizes, ends)
		}
	}
}

// TestJoin: joined micro-batches are what the rows packed at once are.
func TestJoin(t *testing.T) {
	rows := make([]data.Example, 4)
	for i, n := range []int{3, 1, 5, 2} {
		for k := range n {
			rows[i].InputIDs, rows[i].Labels = append(rows[i].InputIDs, int32(10*i+k)), append(rows[i].Labels, int32(10*i+k))
		}
	}
	got := batch.Join([]batch.Micro{batch.Pack(rows, []int{2, 0}), batch.Pack(rows, []int{1}), batch.Pack(rows, []int{3})})
	want := batch.Pack(rows, []int{2, 0, 1, 3})
	if !slices.Equal(got.Tokens, want.Tokens) || !slices.Equal(got.Positions, want.Positions) || !slices.Equal(got.Targets, want.Targets) || !slices.Equal(got.Segments, want.Segments) {
		t.Errorf("%+v, want %+v", got, want.Batch)
	}
}
