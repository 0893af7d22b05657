package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// By hand: 1 - 6·18/(4·15); equal orders; 8/√95 with two equal numbers; undefined where all
// values of one side are equal.
func TestSpearman(t *testing.T) {
	for _, c := range []struct {
		x, y []float64
		want float64
	}{
		{[]float64{1, 2, 3, 4}, []float64{4, 2, 3, 1}, -0.8},
		{[]float64{1, 2, 3}, []float64{10, 20, 1000}, 1},
		{[]float64{1, 2, 2, 3, 5}, []float64{2, 1, 3, 4, 9}, 0.8207826816681233},
		{[]float64{1, 1, 1}, []float64{1, 2, 3}, 0},
	} {
		if got := spearman(c.x, c.y); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v %v: %v, want %v", c.x, c.y, got, c.want)
		}
	}
	same := [][]float64{{1, 2, 3, 4, 5, 6, 7, 8}}
	if low, high := bootstrap(same, same, 1); low != 1 || high != 1 {
		t.Errorf("of equal numbers the interval is %v to %v", low, high)
	}
}

// A half is half of the rows, determined by the seed and the number.
func TestHalf(t *testing.T) {
	a, _ := ldsPool(scale{ldsRows: 24}, 1)
	x, y := half(a, 1, 3), half(a, 1, 4)
	if len(a) != 24 || len(x) != 12 || slices.Equal(x, y) || !slices.Equal(x, half(a, 1, 3)) {
		t.Error(len(a), x, y)
	}
	if sorted := slices.Sorted(slices.Values(x)); len(slices.Compact(sorted)) != 12 {
		t.Errorf("a row is there twice: %v", x)
	}
}

// Without the folder of pools the project's own sets are used; no row is in two of the sets.
func TestOwnPool(t *testing.T) {
	p, err := readPool(filepath.Join(t.TempDir(), "nowhere"), 4, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[row]bool{}
	for _, set := range [][]row{p.rows, p.eval, p.target, p.rest} {
		if len(set) == 0 {
			t.Fatalf("%+v", p)
		}
		for _, r := range set {
			seen[r] = true
		}
	}
	for _, r := range append(slices.Clone(p.eval), p.target...) {
		if r.Kind != "kitchen" {
			t.Errorf("%+v is no row of the target", r)
		}
	}
	if len(seen) < len(p.rows)+len(p.eval)+len(p.target) { // facts have few different rows
		shared := map[row]bool{}
		for _, r := range p.eval {
			shared[r] = true
		}
		for _, r := range append(slices.Clone(p.rows), p.target...) {
			if shared[r] {
				t.Errorf("%+v is in the pool and held out", r)
			}
		}
	}
}

// Existing results are read from their file, those of another model are not, medians and ranges are written, and missing cells
// are reported.
func TestTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cells.jsonl")
	s, err := openStore(path, "m, pools")
	if err != nil {
		t.Fatal(err)
	}
	var cells []cell
	for _, seed := range []string{"1", "2", "3", "4"} {
		cells = append(cells, cell{id: "select/less/seed-" + seed})
	}
	for i, v := range []float64{0.5, 0.9, 0.75} { // the last of them beside other work
		load := []float64{2.2, 2.9, 9}[i]
		if err := s.add(result{Cell: cells[i].id, Values: map[string]float64{"precision": v, "seconds": 100 * v, "target loss": float64(i + 1)}, Machine: "2 cores", Cores: 2, Load: load, When: "2026-01-01"}); err != nil {
			t.Fatal(err)
		}
	}
	for i, loss := range []float64{1.5, 1.75} { // random rows of the first two seeds
		if err := s.add(result{Cell: selectID("random", i+1), Values: map[string]float64{"target loss": loss}}); err != nil {
			t.Fatal(err)
		}
	}
	if s, err = openStore(path, "m, pools"); err != nil {
		t.Fatal(err)
	}
	if other, err := openStore(path, "another model, pools"); err != nil || other.has(cells[0].id) {
		t.Errorf("the cells of one model are another's: %v", err)
	}
	text, err := tables(s, cells)
	if err != nil || !strings.Contains(text, "| less | 0.75 (0.50 to 0.90) | – | 2.0000 (1.0000 to 3.0000) | -0.1250 (-0.5000 to +0.2500) | – | – | 70 (50 to 90) | – |") ||
		!strings.Contains(text, "1 of them beside other work, whose times are left out; 1 cells have not run") {
		t.Error(text, err)
	}
	file := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(file, []byte("a\n"+begin+"old\n"+end+"b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := putBetweenMarks(file, "new\n"); err != nil {
		t.Fatal(err)
	}
	if raw, _ := os.ReadFile(file); string(raw) != "a\n"+begin+"new\n"+end+"b\n" {
		t.Errorf("%s", raw)
	}
}

// TestWindows: contenders are compared after the same number of steps.
func TestWindows(t *testing.T) {
	s := scaleOf(options{seeds: 1})
	for _, name := range s.selectors {
		if _, ok := contenders[name]; !ok {
			t.Errorf("no contender is named %s", name)
		}
		if w := windowsOf(s, name); w.total() != 32 || w.warmup < 1 {
			t.Errorf("%s: %+v", name, w)
		}
	}
}

// TestDrawSteps: there is a picture once a curve's cell has run.
func TestDrawSteps(t *testing.T) {
	dir := t.TempDir()
	size := scaleOf(options{seeds: 1, tiny: true})
	s, err := openStore(filepath.Join(dir, "cells.jsonl"), "m, pools")
	if err != nil {
		t.Fatal(err)
	}
	cells := stepsCells(size, 1)
	for _, want := range []bool{false, true} {
		if err := drawSteps(dir, s, cells, size); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "steps.png")); (err == nil) != want {
			t.Fatalf("a picture: %v, want %v", err == nil, want)
		}
		if err := s.add(result{Cell: cells[0].id, Values: map[string]float64{"target loss at 1": 2, "target loss at 2": 1}}); err != nil {
			t.Fatal(err)
		}
	}
}
