package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"reflect"
	"slices"

	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// The columns that pick adds.
const (
	columnScore   = "dataflex_score"
	columnRank    = "dataflex_rank"
	columnDataset = "dataflex_dataset"
	columnRow     = "dataflex_row"
	columnTimes   = "dataflex_times" // of rows chosen by a run
)

// pickWriter writes the picked rows.
type pickWriter struct {
	out, name, info string // the file, the data set, dataset_info.json beside it
	overwrite       bool
	parts           []pickPart
	description     map[string]json.RawMessage // common to all parts
	entries         pyjson.Object              // the content of dataset_info.json
}

// pickPart is the picked rows of one data set, ascending.
type pickPart struct {
	source *dataset.Source
	rows   []scored
}

// newPickWriter looks the data sets up. Nothing is written if one is described differently from
// the first, or if a file or an entry would be overwritten.
func newPickWriter(c *dataset.Catalog, picked []scored, o pickOptions) (*pickWriter, error) {
	w := &pickWriter{out: o.out, name: o.name, info: filepath.Join(filepath.Dir(o.out), dataset.InfoFile), overwrite: o.overwrite}
	for len(picked) > 0 {
		name := picked[0].Dataset
		n := slices.IndexFunc(picked, func(r scored) bool { return r.Dataset != name })
		if n < 0 {
			n = len(picked)
		}
		if err := w.add(c, name, picked[:n]); err != nil {
			return nil, err
		}
		picked = picked[n:]
	}
	return w, w.readInfo()
}

// readInfo reads the dataset_info.json beside the file, and refuses to overwrite an entry in it,
// or the file of one.
func (w *pickWriter) readInfo() error {
	text, err := storage.ReadFile(w.info)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if w.entries, err = pyjson.DecodeObject(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))); err != nil {
		return fmt.Errorf("%s: %w", w.info, err)
	}
	switch has := w.entries.Get(w.name) != nil; {
	case has && !w.overwrite && storage.Exists(w.out):
		return fmt.Errorf("%s exists: --overwrite replaces it", w.out)
	case has && !w.overwrite:
		return fmt.Errorf("%s has an entry %s: --name gives the picked rows another one, --overwrite replaces it", w.info, w.name)
	}
	return nil
}

func (w *pickWriter) add(c *dataset.Catalog, name string, rows []scored) error {
	s, err := c.Source(name)
	if err != nil {
		return err
	}
	for _, f := range s.Files() {
		if same(f, w.out) {
			return fmt.Errorf("--out %s is a file of data set %s, from which the rows are read", w.out, name)
		}
	}
	description, err := c.Description(name)
	if err != nil {
		return err
	}
	if len(w.parts) > 0 && !reflect.DeepEqual(description, w.description) {
		return fmt.Errorf("the data sets %s and %s have columns of other names in dataset_info.json, which one file cannot have: pick them one by one with --dataset", w.parts[0].source.Name, name)
	}
	w.description = description
	w.parts = append(w.parts, pickPart{s, rows})
	return nil
}

// write writes the file atomically, and then its entry.
func (w *pickWriter) write(ctx context.Context) (err error) {
	if err := storage.MkdirAll(filepath.Dir(w.out)); err != nil {
		return err
	}
	lock, err := lockInfo(ctx, filepath.Dir(w.out))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := w.readInfo(); err != nil { // it may have changed while we waited
		return err
	}
	if storage.Exists(w.out) && !w.overwrite {
		return w.finish(ctx)
	}
	if err := storage.Write(w.out, -1, func(f io.Writer) error { return w.fill(ctx, f) }); err != nil {
		return err
	}
	return w.describe()
}

// fill writes the rows in the file's format.
func (w *pickWriter) fill(ctx context.Context, f io.Writer) error {
	b := bufio.NewWriterSize(f, 1<<20)
	fill := w.lines
	if filepath.Ext(w.out) == ".parquet" {
		fill = w.parquet
	}
	if err := fill(ctx, b); err != nil {
		return err
	}
	return b.Flush()
}

// finish adds the entry of a file that has none, if these rows are what it contains: an earlier
// pick was killed between the two. Any other file is not ours to replace.
func (w *pickWriter) finish(ctx context.Context) error {
	f, err := storage.Open(w.out)
	if err != nil {
		return err
	}
	defer f.Close()
	c := comparing{old: bufio.NewReaderSize(f, 1<<20)}
	if err := w.fill(ctx, &c); err != nil && !errors.Is(err, errDiffers) {
		return err
	}
	if _, err := c.old.ReadByte(); c.differs || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s exists: --overwrite replaces it", w.out)
	}
	return w.describe()
}

// comparing is a writer that compares what it is given with a file.
type comparing struct {
	old     *bufio.Reader
	differs bool
}

var errDiffers = errors.New("the file differs")

func (c *comparing) Write(p []byte) (int, error) {
	have := make([]byte, len(p))
	if _, err := io.ReadFull(c.old, have); err != nil || !bytes.Equal(have, p) {
		c.differs = true
		return 0, errDiffers
	}
	return len(p), nil
}

// each yields all rows with their objects from the files.
func (w *pickWriter) each(ctx context.Context, yield func(r scored, object []byte) error) error {
	for _, p := range w.parts {
		numbers := make([]int, len(p.rows))
		for i, r := range p.rows {
			numbers[i] = r.Row
		}
		next := 0
		err := p.source.Rows(ctx, numbers, func(_ int, object []byte) error {
			r := p.rows[next]
			next++
			if err := yield(r, object); err != nil {
				return fmt.Errorf("dataset %s, row %d: %w", r.Dataset, r.Row, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// columns are the columns that pick adds to a row.
func (r scored) columns() pyjson.Object {
	score := any(r.Score)
	if math.IsNaN(r.Score) {
		score = nil
	}
	o := pyjson.Object{{Key: columnScore, Value: score}, {Key: columnRank, Value: r.Rank}, {Key: columnDataset, Value: r.Dataset}, {Key: columnRow, Value: r.Row}}
	if r.Times > 0 {
		o = append(o, pyjson.Field{Key: columnTimes, Value: r.Times})
	}
	return o
}

// fresh returns an error if a row already has one of our columns.
func fresh(object []byte) error {
	if !bytes.Contains(object, []byte(`"dataflex_`)) {
		return nil
	}
	o, err := pyjson.DecodeObject(object)
	if err != nil {
		return err
	}
	for _, f := range o {
		if slices.Contains([]string{columnScore, columnRank, columnDataset, columnRow, columnTimes}, f.Key) {
			return fmt.Errorf("it already has a column %s, from an earlier pick: rename the column, or pick from the original data set", f.Key)
		}
	}
	return nil
}

// lines writes JSON lines: the rows' own bytes, with our columns at the end.
func (w *pickWriter) lines(ctx context.Context, f io.Writer) error {
	return w.each(ctx, func(r scored, object []byte) error {
		if err := fresh(object); err != nil {
			return err
		}
		ours := pyjson.Encode(r.columns(), 0)
		head := bytes.TrimRight(bytes.TrimSuffix(bytes.TrimSpace(object), []byte("}")), " \t")
		line := append([]byte(nil), head...)
		if !bytes.Equal(head, []byte("{")) {
			line = append(line, ", "...)
		}
		line = append(line, ours[1:]...)
		_, err := f.Write(append(line, '\n'))
		return err
	})
}

// describe adds the entry to dataset_info.json. The others are unchanged.
func (w *pickWriter) describe() error {
	entry := pyjson.Object{{Key: "file_name", Value: filepath.Base(w.out)}}
	for _, key := range slices.Sorted(maps.Keys(w.description)) {
		v, err := pyjson.Decode(w.description[key])
		if err != nil {
			return err
		}
		entry = append(entry, pyjson.Field{Key: key, Value: v})
	}
	i := slices.IndexFunc(w.entries, func(f pyjson.Field) bool { return f.Key == w.name })
	if i < 0 {
		i = len(w.entries)
		w.entries = append(w.entries, pyjson.Field{Key: w.name})
	}
	w.entries[i].Value = entry
	return storage.WriteFile(w.info, []byte(pyjson.Encode(w.entries, 2)+"\n"))
}
