package dataset

import (
	"context"
	"fmt"

	"dataflex.dev/dataflex/data"
)

// Find re-reads rows by their IDs and returns their samples in the order of ids. Only a few
// batches of the files and the requested rows are in memory at a time. A row that no longer
// exists is an error.
func Find(ctx context.Context, c *Catalog, ids []data.ID, threads int) ([]data.Sample, error) {
	wanted := map[string]map[int][]int{} // dataset, row: indices into ids
	var names []string
	for i, id := range ids {
		if wanted[id.Dataset] == nil {
			wanted[id.Dataset] = map[int][]int{}
			names = append(names, id.Dataset)
		}
		wanted[id.Dataset][id.Row] = append(wanted[id.Dataset][id.Row], i)
	}
	out := make([]data.Sample, len(ids))
	for _, name := range names {
		if err := find(ctx, c, name, wanted[name], threads, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func find(ctx context.Context, c *Catalog, name string, rows map[int][]int, threads int, out []data.Sample) error {
	s, err := c.Source(name)
	if err != nil {
		return err
	}
	last := 0
	for row := range rows {
		last = max(last, row)
	}
	choose := func(samples []data.Sample) (kept []data.Sample, _ error) {
		for _, x := range samples {
			if rows[x.Row] != nil && x.Fault != nil {
				return nil, x.Fault
			}
			if rows[x.Row] != nil {
				kept = append(kept, x)
			}
		}
		return kept, nil
	}
	found := 0
	err = Each(ctx, s, last+1, threads, choose, func(kept []data.Sample) error {
		for _, x := range kept {
			for _, i := range rows[x.Row] {
				out[i] = x
			}
			found++
		}
		return nil
	})
	if err == nil && found < len(rows) {
		err = fmt.Errorf("dataset %s: row %d existed when the data was tokenised and no longer does", name, last)
	}
	return err
}
