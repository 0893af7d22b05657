package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/kernels/gradproj"
)

// The measured errors follow the law √((1+c²)/dim), and the outputs are written to the given
// files.
func TestStudyFollowsTheLaw(t *testing.T) {
	o := options{rows: 24, size: 4000, seeds: 6, dims: []int{64, 256}, threads: 2}
	s, err := measure(o, normalise(lowRank(o.rows, o.size)))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []gradproj.Kind{gradproj.Rademacher, gradproj.Gaussian, gradproj.SJLT} {
		for i, r := range s.results[k] {
			if math.Abs(r.rms/s.law[i]-1) > 0.2 {
				t.Errorf("%s, dim %d: error %.4f, law %.4f", k, o.dims[i], r.rms, s.law[i])
			}
		}
	}
	dir := t.TempDir()
	o.table, o.plot = filepath.Join(dir, "jl.md"), filepath.Join(dir, "jl.png")
	if err := run(o); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(o.table)
	if err != nil || strings.Count(string(table), "\n") != 6 {
		t.Errorf("table %q, %v", table, err)
	}
	if png, err := os.ReadFile(o.plot); err != nil || !strings.HasPrefix(string(png), "\x89PNG") {
		t.Errorf("plot of %d bytes, %v", len(png), err)
	}
}
