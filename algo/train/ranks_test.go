package train

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo/curriculum"
)

// TestRanksDealAsAccelerate: the rows of every rank at every step, recorded from Hugging
// Face's Trainer (transformers 4.52.4, accelerate 1.7.0) on one, two and three processes
// with gloo: incomplete rounds, and fewer rows than a round.
func TestRanksDealAsAccelerate(t *testing.T) {
	raw, err := os.ReadFile("testdata/ranks.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]struct {
		Rows, Micro, Accumulate, World int
		Ranks                          [][][2]json.RawMessage // per rank its micro-batches: step, rows
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	for name, run := range all {
		plan := Plan{Rows: run.Rows, Micro: run.Micro, Accumulate: run.Accumulate, Ranks: run.World}
		s := sampler{plan: plan, seed: 42, shuffle: true, window: curriculum.Window{}}
		steps := map[int][][][]int{} // per step and rank the rows of its micro-batches
		for rank, micros := range run.Ranks {
			for _, m := range micros {
				var step int
				var rows []int
				if err := json.Unmarshal(m[0], &step); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(m[1], &rows); err != nil {
					t.Fatal(err)
				}
				if steps[step] == nil {
					steps[step] = make([][][]int, run.World)
				}
				steps[step][rank] = append(steps[step][rank], rows)
			}
		}
		for step := range len(steps) {
			got := make([][][]int, run.World)
			for _, d := range s.step(step) {
				got[d.rank] = append(got[d.rank], d.rows)
			}
			for rank := range got {
				if !slices.EqualFunc(got[rank], steps[step][rank], slices.Equal) {
					t.Errorf("%s, step %d, rank %d: %v, recorded %v", name, step, rank, got[rank], steps[step][rank])
				}
			}
		}
	}
}
