package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
)

// cell is a unit of work, which is not repeated once its file exists.
type cell struct {
	id  string // question/method/seed-N
	run func(context.Context, *lab) (map[string]float64, error)
}

// result is the content of a cell's file.
type result struct {
	Values  map[string]float64
	Seconds float64
	Machine string
	When    string
}

// store is the folder of the cells' files.
type store struct{ dir string }

func (s store) path(id string) string { return filepath.Join(s.dir, id+".json") }

func (s store) has(id string) bool { return storage.Exists(s.path(id)) }

func (s store) write(id string, r result) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := storage.MkdirAll(filepath.Dir(s.path(id))); err != nil {
		return err
	}
	return storage.WriteFile(s.path(id), append(raw, '\n'))
}

func (s store) read(id string) (r result, err error) {
	raw, err := storage.ReadFile(s.path(id))
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		return r, fmt.Errorf("cell %s: %w", id, err)
	}
	return r, nil
}

// cellsOf lists the cells, the most informative first, so that a partial night is worthwhile.
func cellsOf(o options) ([]cell, error) {
	asked := func(question string) bool {
		for _, q := range o.only {
			if q == question {
				return true
			}
		}
		return o.only == nil
	}
	s := scaleOf(o)
	var out []cell
	for seed := 1; seed <= s.seeds; seed++ {
		if asked("select") {
			out = append(out, selectCells(s, seed)...)
		}
		if asked("lds") {
			out = append(out, ldsCells(s, seed)...)
		}
		if asked("noise") {
			out = append(out, noiseCells(s, seed)...)
		}
		if asked("mix") {
			out = append(out, mixCells(s, seed)...)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("nothing to do: --only names select, mix, noise, lds, and --seeds is at least 1")
	}
	return out, nil
}

// scale is the size of the experiments.
type scale struct {
	seeds                       int
	perKind, held               int // rows per kind in the pool, and held out
	warmup, steps               int // steps before the selection, and after
	micro                       int // rows per step
	selectors, weighters, mixes []string
	texts, mixSteps             int // texts per domain
	subsets, ldsRows, ldsEpochs int
}

func scaleOf(o options) scale {
	full := scale{
		seeds: o.seeds, perKind: 150, held: 12, warmup: 8, steps: 24, micro: 4,
		selectors: []string{"random", "full", "less", "less-sgd", "less-rademacher", "less-sjlt", "nice", "icons", "cluster_less", "loss", "delta_loss", "zeroth", "coincide"},
		weighters: []string{"none", "loss", "adapt", "joint_update_aware"}, mixes: []string{"uniform", "doremi", "odm"},
		texts: 60, mixSteps: 60, subsets: 100, ldsRows: 120, ldsEpochs: 4,
	}
	switch {
	case o.tiny:
		full.seeds, full.perKind, full.held, full.warmup, full.steps, full.micro = 1, 3, 2, 1, 2, 2
		full.selectors = []string{"random", "less", "loss"}
		full.weighters, full.mixes, full.texts, full.mixSteps = []string{"none", "loss"}, []string{"uniform", "odm"}, 2, 2
		full.subsets, full.ldsRows, full.ldsEpochs = 12, 24, 1
	case o.subset:
		full.seeds, full.perKind, full.steps = 1, 60, 12
		full.selectors = []string{"random", "full", "less", "less-rademacher"}
		full.weighters, full.mixes, full.texts, full.mixSteps = []string{"none", "loss"}, []string{"uniform", "odm"}, 20, 16
		full.subsets = 60
	}
	return full
}
