// Package compare compares runs for a paper: eval loss over the steps, the similarity of their
// choices, and a table, as PNG and SVG, Markdown, LaTeX and CSV.
package compare

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/algo/report/chart"
	"dataflex.dev/dataflex/algo/report/page"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Write compares the runs of output folders into a folder, and returns the files
// written.
func Write(ctx context.Context, out string, dirs []string) (files []string, err error) {
	runs, err := page.Load(ctx, dirs)
	if err != nil {
		return nil, err
	}
	if err := storage.MkdirAll(out); err != nil {
		return nil, fmt.Errorf("report --compare: %w", err)
	}
	write := func(name string, content []byte) error {
		path := filepath.Join(out, name)
		files = append(files, path)
		return storage.WriteFile(path, content)
	}
	html, err := page.Render(runs)
	if err != nil {
		return nil, err
	}
	if err := write("comparison.html", html); err != nil {
		return nil, err
	}
	for _, f := range Tables(runs, dirs) {
		if err := write(f.Name, f.Content); err != nil {
			return nil, err
		}
	}
	pictures, err := draw(out, runs)
	return append(files, pictures...), err
}

// File is a formatted table.
type File struct {
	Name    string // runs.md, overlap.tex, …
	Content []byte
}

// Tables are the runs of output folders and, where two or more made choices, the similarity of
// these; each as Markdown, LaTeX and CSV.
func Tables(runs []*page.Run, dirs []string) (files []File) {
	for i, t := range tables(runs, finals(dirs)) {
		name := []string{"runs", "overlap"}[i]
		files = append(files, File{name + ".md", []byte(t.markdown())}, File{name + ".tex", []byte(t.latex())}, File{name + ".csv", []byte(t.csv())})
	}
	return files
}

// finals are the losses of the evaluations after training, by run; nil where there is none.
func finals(dirs []string) []*float64 {
	out := make([]*float64, len(dirs))
	for i, dir := range dirs {
		raw, err := storage.ReadFile(filepath.Join(dir, "eval_results.json"))
		if err != nil {
			continue // no evaluation was configured
		}
		if o, err := pyjson.DecodeObject(raw); err == nil {
			if v, ok := o.Get("eval_loss").(float64); ok {
				out[i] = &v
			}
		}
	}
	return out
}

// draw draws the pictures for which there are values.
func draw(out string, runs []*page.Run) (files []string, err error) {
	var lines []chart.Line
	for _, r := range runs {
		for _, c := range evaluations(r) {
			name := r.Name
			if c.Name != "eval_loss" {
				name += ", " + c.Name
			}
			lines = append(lines, chart.Line{Name: name, X: c.X, Y: c.Y})
		}
	}
	var pairs []string
	all, last := chart.Series{Name: "all selections"}, chart.Series{Name: "the last one"}
	for _, o := range page.Overlaps(runs) {
		pairs = append(pairs, o.A+" / "+o.B)
		all.Y, last.Y = append(all.Y, o.Jaccard), append(last.Y, o.Last)
	}
	zero := 0.0
	for _, extension := range []string{".png", ".svg"} {
		if len(lines) > 0 {
			path := filepath.Join(out, "eval_loss"+extension)
			if err := chart.Lines(path, chart.Axes{Title: "Evaluation loss", X: "step", Y: "loss"}, lines); err != nil {
				return nil, err
			}
			files = append(files, path)
		}
		if len(pairs) > 0 {
			path := filepath.Join(out, "overlap"+extension)
			axes := chart.Axes{Title: "Similarity of the choices", Y: "Jaccard index", Floor: &zero, Note: "Rows that both runs chose, divided by the rows that either chose."}
			if err := chart.Bars(path, axes, pairs, []chart.Series{all, last}, nil); err != nil {
				return nil, err
			}
			files = append(files, path)
		}
	}
	return files, nil
}

func evaluations(r *page.Run) (out []page.Curve) {
	for _, c := range r.Curves {
		if strings.HasPrefix(c.Name, "eval_") && c.Panel == "loss" {
			out = append(out, c)
		}
	}
	return out
}
