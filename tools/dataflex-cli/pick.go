package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/dataset"
)

// pickOptions are the flags of pick.
type pickOptions struct {
	out, name, dir string
	datasets       []string
	top            int
	quantile       float64
	minScore       float64
	perDataset     bool
	overwrite      bool
}

func pickCommand() *cobra.Command {
	o := pickOptions{quantile: math.NaN(), minScore: math.NaN()}
	c := &cobra.Command{
		Use:   "pick SCORES --out FILE",
		Short: "Write the best-scored rows as a new data set",
		Long: "SCORES is what `score` wrote (its --out folder, or the scores.jsonl in it) or what a run chose (its output_dir, or the\n" +
			"selected_rows.jsonl in it: every row that was chosen, once, with its best score). FILE, .jsonl or .parquet, gets the original rows,\n" +
			"all columns as they were and in the order of their files, with dataflex_score, dataflex_rank (0 is the best), dataflex_dataset and\n" +
			"dataflex_row; dataset_info.json beside it gets the entry to train on it. Rows without a score are never picked; ties at\n" +
			"the cut-off go to the first rows.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pick(cmd.Context(), args[0], o, cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVarP(&o.out, "out", "o", "", "the file to write: .jsonl or .parquet")
	f.StringVar(&o.name, "name", "", "the data set's name in dataset_info.json (default the file's name)")
	f.StringVar(&o.dir, "dataset-dir", dataset.DefaultDir, "the folder of the dataset_info.json that describes the rows that were scored")
	f.StringSliceVar(&o.datasets, "dataset", nil, "only rows of these data sets")
	f.IntVar(&o.top, "top", 0, "this many rows, the best ones")
	f.Float64Var(&o.quantile, "quantile", o.quantile, "rows at or above this quantile of the scores: 0.9 is the best tenth")
	f.Float64Var(&o.minScore, "min-score", o.minScore, "rows with at least this score")
	f.BoolVar(&o.perDataset, "per-dataset", false, "--top and --quantile apply to each data set separately")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace an existing FILE and its entry")
	return c
}

// pick writes the picked rows and their entry in dataset_info.json.
func pick(ctx context.Context, scores string, o pickOptions, say io.Writer) error {
	path, rows, err := readScores(scores)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r scored) bool { return len(o.datasets) > 0 && !slices.Contains(o.datasets, r.Dataset) })
	if len(rows) == 0 {
		return fmt.Errorf("%s has no row of %s", path, strings.Join(o.datasets, ", "))
	}
	if err := o.check(path); err != nil {
		return err
	}
	picked, unscored := o.choose(rows)
	if unscored > 0 {
		fmt.Fprintf(say, "%d rows have no score and are not picked\n", unscored)
	}
	if len(picked) == 0 {
		return fmt.Errorf("%s: none of %d rows is picked", path, len(rows))
	}
	if o.top > 0 && !o.perDataset && len(picked) < o.top {
		fmt.Fprintf(say, "--top %d: only %d rows could be picked\n", o.top, len(picked))
	}
	catalog, err := dataset.OpenCatalog(o.dir, nil)
	if err != nil {
		return err
	}
	w, err := newPickWriter(catalog, picked, o)
	if err != nil {
		return err
	}
	if err := w.write(ctx); err != nil {
		return err
	}
	fmt.Fprintf(say, "%s: %d of %d rows; data set %s in %s\n", o.out, len(picked), len(rows), o.name, w.info)
	return nil
}

// check checks that the flags are consistent, and completes them.
func (o *pickOptions) check(scores string) error {
	switch extension := filepath.Ext(o.out); {
	case o.out == "":
		return errors.New("--out is missing: the file to write, .jsonl or .parquet")
	case extension != ".jsonl" && extension != ".parquet":
		return fmt.Errorf("--out %s: .jsonl and .parquet are written", o.out)
	case o.top < 0:
		return fmt.Errorf("--top %d: a positive number of rows is expected", o.top)
	case o.quantile < 0 || o.quantile > 1:
		return fmt.Errorf("--quantile %v: it must be between 0 and 1", o.quantile)
	case o.top == 0 && math.IsNaN(o.quantile) && math.IsNaN(o.minScore) && filepath.Base(scores) == scoresName:
		return errors.New("choose the rows by --top, --quantile or --min-score")
	case o.perDataset && o.top == 0 && math.IsNaN(o.quantile):
		return errors.New("--per-dataset needs --top or --quantile")
	}
	o.name = cmp.Or(o.name, strings.TrimSuffix(filepath.Base(o.out), filepath.Ext(o.out)))
	if same(o.out, scores) {
		return fmt.Errorf("--out %s is the file of the scores", o.out)
	}
	return nil
}

// same reports whether two paths are the same file.
func same(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// scored is a row with its score.
type scored struct {
	data.ID
	Score float64 // NaN if missing
	Rank  int     // among the picked rows, by score
	Times int     // how often a run chose it; 0 = the row is from `score`
	place int     // position in SCORES
}

// choose picks rows and returns them by data set, in order of appearance, and row. unscored
// counts those without a score.
func (o *pickOptions) choose(rows []scored) (picked []scored, unscored int) {
	var order []string
	groups := map[string][]scored{}
	for i, r := range rows {
		r.place = i
		if !slices.Contains(order, r.Dataset) {
			order = append(order, r.Dataset)
		}
		if math.IsNaN(r.Score) {
			unscored++
			continue
		}
		group := ""
		if o.perDataset {
			group = r.Dataset
		}
		groups[group] = append(groups[group], r)
	}
	better := func(a, b scored) int { return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.place, b.place)) }
	for _, g := range groups {
		slices.SortFunc(g, better)
		picked = append(picked, o.of(g)...)
	}
	slices.SortFunc(picked, better)
	for i := range picked {
		picked[i].Rank = i
	}
	slices.SortFunc(picked, func(a, b scored) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Dataset), slices.Index(order, b.Dataset)), cmp.Compare(a.Row, b.Row))
	})
	return picked, unscored
}

// of returns the rows that satisfy all flags, best first.
func (o *pickOptions) of(rows []scored) []scored {
	least := math.Inf(-1)
	if !math.IsNaN(o.minScore) {
		least = o.minScore
	}
	if !math.IsNaN(o.quantile) {
		least = max(least, quantile(rows, o.quantile))
	}
	n := 0
	for n < len(rows) && rows[n].Score >= least {
		n++
	}
	if o.top > 0 {
		n = min(n, o.top)
	}
	return rows[:n]
}

// quantile returns a quantile of descending scores, interpolated as numpy.quantile does by
// default.
func quantile(rows []scored, q float64) float64 {
	at := q * float64(len(rows)-1)
	lo := int(at)
	hi := min(lo+1, len(rows)-1)
	up := func(i int) float64 { return rows[len(rows)-1-i].Score }
	return up(lo) + (up(hi)-up(lo))*(at-float64(lo))
}
