// Command jlstudy measures how well the projections of kernels/gradproj preserve inner
// products, over seeds and dimensions, and how often LESS would choose the same samples.
//
//	jlstudy [--gradients persample.safetensors] [--seeds 20] [--plot jl.png] [--table jl.md]
//
// Without --gradients the rows are random: a few strong common directions plus noise, similar
// to per-sample gradients. The last quarter of the rows is used as the evaluation set, the rest
// as the pool. The table is written to standard output unless --table names a file.
package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/model/checkpoint"
)

// options are the command line.
type options struct {
	gradients, tensor   string
	table, plot         string
	rows, size          int
	seeds, top, threads int
	dims                []int
}

func main() {
	var o options
	f := pflag.NewFlagSet("jlstudy", pflag.ContinueOnError)
	f.StringVar(&o.gradients, "gradients", "", "safetensors file with one gradient a row; random rows without it")
	f.StringVar(&o.tensor, "tensor", "gradient", "name of the tensor in it [rows, entries]")
	f.StringVar(&o.table, "table", "", "file for the Markdown table (standard output)")
	f.StringVar(&o.plot, "plot", "", "PNG file for the plot (none)")
	f.IntVar(&o.rows, "rows", 256, "random rows")
	f.IntVar(&o.size, "size", 20000, "entries of a random row")
	f.IntVar(&o.seeds, "seeds", 20, "matrices per kind and dimension")
	f.IntVar(&o.top, "top", 0, "how many rows are selected (a quarter of the pool)")
	f.IntVar(&o.threads, "threads", 0, "worker threads (all cores)")
	f.IntSliceVar(&o.dims, "dims", []int{256, 512, 1024, 2048, 4096}, "dimensions to project to")
	if err := f.Parse(os.Args[1:]); err != nil {
		if err == pflag.ErrHelp {
			return
		}
		fail(err)
	}
	if err := run(o); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "jlstudy:", err)
	os.Exit(1)
}

func run(o options) error {
	rows, err := load(o)
	if err != nil {
		return err
	}
	if len(rows) < 4 || o.seeds < 1 || len(o.dims) == 0 {
		return fmt.Errorf("%d rows, %d seeds, %d dimensions: need at least 4, 1 and 1", len(rows), o.seeds, len(o.dims))
	}
	s, err := measure(o, rows)
	if err != nil {
		return err
	}
	var out io.Writer = os.Stdout
	if o.table != "" {
		file, err := os.Create(o.table)
		if err != nil {
			return err
		}
		defer file.Close()
		out = file
	}
	if err := s.writeTable(out); err != nil {
		return fmt.Errorf("table: %w", err)
	}
	if o.plot != "" {
		return s.draw(o.plot)
	}
	return nil
}

// load returns rows of length 1, from the file or at random.
func load(o options) ([][]float32, error) {
	if o.gradients == "" {
		return normalise(lowRank(o.rows, o.size)), nil
	}
	w, err := checkpoint.OpenFile(o.gradients)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	shape, ok := w.Shape(o.tensor)
	if !ok || len(shape) != 2 {
		return nil, fmt.Errorf("%s: no matrix %q", o.gradients, o.tensor)
	}
	flat := make([]float32, shape[0]*shape[1])
	if err := w.ReadFloat32(o.tensor, flat); err != nil {
		return nil, err
	}
	rows := make([][]float32, shape[0])
	for i := range rows {
		rows[i] = flat[i*shape[1] : (i+1)*shape[1]]
	}
	return normalise(rows), nil
}

// lowRank makes rows from sixteen common directions, the k-th with weight 1/(k+1), plus as much
// individual noise.
func lowRank(n, size int) [][]float32 {
	const rank = 16
	r := rand.New(rand.NewPCG(1, 1))
	common := make([][]float64, rank)
	for k := range common {
		common[k] = make([]float64, size)
		for j := range common[k] {
			common[k][j] = r.NormFloat64() / float64(k+1)
		}
	}
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = make([]float32, size)
		var weight [rank]float64
		for k := range weight {
			weight[k] = r.NormFloat64()
		}
		for j := range rows[i] {
			x := r.NormFloat64()
			for k, w := range weight {
				x += w * common[k][j]
			}
			rows[i][j] = float32(x)
		}
	}
	return rows
}

func normalise(rows [][]float32) [][]float32 {
	for _, row := range rows {
		scale := 1 / math.Sqrt(dot(row, row))
		for j := range row {
			row[j] = float32(float64(row[j]) * scale)
		}
	}
	return rows
}

func dot(x, y []float32) float64 {
	var s float64
	for i, v := range x {
		s += float64(v) * float64(y[i])
	}
	return s
}
