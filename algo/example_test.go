package algo_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
)

// shortest picks the rows with the fewest tokens.
type shortest struct {
	rows []data.Example
	most int
}

func newShortest(run *algo.Run, _ algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &shortest{rows: run.Train, most: p.Int("most", 1024)}
	return s, p.Err()
}

func (s *shortest) Select(_ context.Context, r algo.Request) (algo.Selection, error) {
	var fit []int
	for i, row := range s.rows {
		if len(row.InputIDs) <= s.most {
			fit = append(fit, i)
		}
	}
	slices.SortStableFunc(fit, func(a, b int) int { return len(s.rows[a].InputIDs) - len(s.rows[b].InputIDs) })
	return algo.Selection{Indices: fit[:min(r.N, len(fit))]}, nil
}

// A user-defined method is registered under a name, which components.yaml uses; its parameters
// are read by name. data/examples/selector is a program with one.
func ExampleRegisterSelector() {
	algo.RegisterSelector("shortest", newShortest)

	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "components.yaml")
	if err := os.WriteFile(file, []byte("selectors:\n  shortest: {params: {most: 3}}\n"), 0o600); err != nil {
		panic(err)
	}
	component, err := config.LoadComponent(file, "selectors", "shortest")
	if err != nil {
		panic(err)
	}
	row := func(n int) data.Example { return data.Example{InputIDs: make([]int32, n)} }
	run := &algo.Run{Train: []data.Example{row(3), row(9), row(1), row(2)}}
	s, err := algo.BuildSelector(run, component)
	if err != nil {
		panic(err)
	}
	sel, err := s.Select(context.Background(), algo.Request{N: 2})
	fmt.Println(sel.Indices, err)
	// Output: [2 3] <nil>
}
