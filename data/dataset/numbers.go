package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Numbers reads a column that the dataset's entry need not name: the number in every row, in
// the order of the files; NaN where it is null. A column that no row has, and a value that is
// not a number, are errors.
func Numbers(ctx context.Context, s *Source, column string) ([]float64, error) {
	var out []float64
	var first []string
	seen := false
	for _, f := range s.files {
		r := &record{attr: s.attr, source: f, base: len(out), names: []string{column}, cells: make([]cell, 1)}
		if err := r.each(ctx, func() error {
			if first == nil {
				first = r.has()
			}
			x, err := r.number(column)
			out = append(out, x)
			return err
		}); err != nil {
			return nil, fmt.Errorf("dataset %s: %w", s.Name, Locate(err))
		}
		seen = seen || r.found.seen[0]
	}
	if !seen {
		return nil, fmt.Errorf("dataset %s: column '%s' is missing: no row of %s has it; the first row has %s", s.Name, column, strings.Join(s.Files(), ", "), strings.Join(first, ", "))
	}
	return out, nil
}

// each reads the record's file and fills the record with one row after another.
func (r *record) each(ctx context.Context, row func() error) (err error) {
	rows, closer, err := r.source.reader(r.names)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	r.header = rows.header()
	for n := 0; ; n++ {
		w, err := rows.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n%batchRows == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.fill(w, r.source.kind == "csv"); err != nil {
			return r.source.syntax(err, w)
		}
		if err := row(); err != nil {
			return err
		}
	}
}

// number is a column's value; NaN for null, and for NaN and Inf.
func (r *record) number(column string) (float64, error) {
	c := r.cells[0]
	if c.null() {
		return math.NaN(), nil
	}
	text := string(c.raw)
	if c.raw == nil { // CSV has only text
		text = strings.TrimSpace(c.text)
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || c.raw != nil && c.kind != jsontext.Kind('0') {
		return 0, r.errorf("column '%s' is %.40s; a number is expected", column, text)
	}
	if math.IsInf(x, 0) {
		x = math.NaN()
	}
	return x, nil
}
