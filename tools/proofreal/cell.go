package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// cell is a unit of work, which is not repeated once its result is in the file of cells.
type cell struct {
	id  string // question/method/seed-N
	run func(context.Context, *lab) (map[string]float64, error)
}

// result is a line of the file of cells.
type result struct {
	Cell    string
	Subject string // the model and the pools, but for the question lds, which has its own
	Values  map[string]float64
	Seconds float64
	Machine string
	Cores   int
	Load    float64 // runnable threads of the whole machine, averaged over the cell's last minute
	When    string
}

// idle reports whether nothing else ran: a cell's own threads are as many as there are cores,
// and one more is allowed for what an idle machine does.
func (r result) idle() bool { return r.Load <= float64(r.Cores)+1 }

// store is the file of the cells that have run, one JSON line each, which grows over several
// nights and machines.
type store struct {
	path    string
	subject string
	results map[key]result
}

type key struct{ cell, subject string }

func openStore(path, subject string) (*store, error) {
	s := &store{path: path, subject: subject, results: map[key]result{}}
	raw, err := storage.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	for i, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
		var r result
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		s.results[key{r.Cell, r.Subject}] = r
	}
	return s, nil
}

func (s *store) key(id string) key {
	if strings.HasPrefix(id, "lds/") {
		return key{cell: id}
	}
	return key{id, s.subject}
}

func (s *store) has(id string) bool { _, ok := s.results[s.key(id)]; return ok }

// add writes the whole file again, so that it never ends in half a line.
func (s *store) add(r result) error {
	k := s.key(r.Cell)
	r.Subject = k.subject
	s.results[k] = r
	inOrder := slices.SortedFunc(maps.Keys(s.results), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.subject, b.subject), cmp.Compare(a.cell, b.cell))
	})
	var text bytes.Buffer
	for _, k := range inOrder {
		raw, err := json.Marshal(s.results[k])
		if err != nil {
			return err
		}
		text.Write(append(raw, '\n'))
	}
	if err := storage.MkdirAll(filepath.Dir(s.path)); err != nil {
		return err
	}
	return storage.WriteFile(s.path, text.Bytes())
}

func (s *store) read(id string) (result, error) {
	r, ok := s.results[s.key(id)]
	if !ok {
		return r, fmt.Errorf("cell %s has not run", id)
	}
	return r, nil
}

// cellsOf lists the cells, the most informative first, so that a partial night is worthwhile.
func cellsOf(o options) ([]cell, error) {
	s := scaleOf(o)
	var out []cell
	for seed := 1; seed <= s.seeds; seed++ {
		out = append(out, selectCells(s, seed)...)
		out = append(out, stepsCells(s, seed)...)
		out = append(out, ldsCells(s, seed)...)
		out = append(out, noiseCells(s, seed)...)
		out = append(out, mixCells(s, seed)...)
	}
	if o.only != nil {
		out = slices.DeleteFunc(out, func(c cell) bool { return !asked(o.only, c.id) })
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("nothing to do: --only names select, select-time, steps, mix, noise, lds or a cell of theirs as select/less, and --seeds is at least 1")
	}
	return out, nil
}

// asked says whether a cell is one of those named: by its question, question/method or whole.
func asked(only []string, id string) bool {
	return slices.ContainsFunc(only, func(name string) bool {
		rest, ok := strings.CutPrefix(id, name)
		return ok && (rest == "" || rest[0] == '/')
	})
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
		selectors: []string{"random", "full", "less", "less-sgd", "less-warmup-2", "less-warmup-16", "less-twice", "less-four-times", "less-rademacher", "less-sjlt", "nice", "near", "tsds", "icons", "cluster_less", "loss", "delta_loss", "zeroth", "coincide"},
		weighters: []string{"none", "loss", "adapt", "joint_update_aware"}, mixes: []string{"uniform", "doremi", "odm"},
		texts: 60, mixSteps: 60, subsets: 100, ldsRows: 120, ldsEpochs: 4,
	}
	switch {
	case o.tiny:
		full.seeds, full.perKind, full.held, full.warmup, full.steps, full.micro = 1, 3, 2, 1, 2, 2
		full.selectors = []string{"random", "less", "loss", "near", "tsds"}
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
