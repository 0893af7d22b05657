package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"

	"dataflex.dev/dataflex/data/task"
)

// native copies rows from parquet to parquet, value by value, so that every type is preserved;
// done is false where a source is not parquet, or has other columns than the first.
func (w *pickWriter) native(ctx context.Context, f io.Writer) (done bool, err error) {
	files, err := w.parquetFiles()
	if files == nil || err != nil {
		return false, err
	}
	var all []*parquet.File
	for _, of := range files {
		for _, open := range of {
			defer open.close()
			all = append(all, open.File)
		}
	}
	if slices.ContainsFunc(all, func(x *parquet.File) bool { return x.Schema().String() != all[0].Schema().String() }) {
		return false, nil
	}
	ours, columns, err := w.widened(all[0].Schema())
	if err != nil {
		return false, err
	}
	out := parquet.NewGenericWriter[any](f, parquet.NewSchema("rows", newGroup(columns)), parquet.Compression(&parquet.Snappy))
	for i, p := range w.parts {
		c := copier{out: out, rows: p.rows, columns: len(all[0].Schema().Columns()), ours: ours}
		for _, file := range files[i] {
			if err := task.Catch(func() error { return c.file(ctx, file.File) }); err != nil { // the library panics on some damaged pages
				return false, fmt.Errorf("dataset %s: %w", p.source.Name, err)
			}
		}
		if len(c.rows) > 0 {
			return false, fmt.Errorf("dataset %s: there is no row %d: its files hold %d rows; they are not those that were scored", p.source.Name, c.rows[0].Row, c.base)
		}
	}
	return true, out.Close()
}

// parquetFiles opens the files of every part; nil where one is not parquet.
func (w *pickWriter) parquetFiles() (out [][]parquetFile, err error) {
	for _, p := range w.parts {
		if p.source.Kind() != "parquet" {
			return nil, nil
		}
	}
	for _, p := range w.parts {
		var files []parquetFile
		for _, path := range p.source.Files() {
			f, err := openParquet(path)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
		out = append(out, files)
	}
	return out, nil
}

// widened are the columns of a file with ours appended.
func (w *pickWriter) widened(s *parquet.Schema) (ours *shape, columns []column, err error) {
	for _, c := range s.Fields() {
		if err := fresh([]byte(fmt.Sprintf("{%q: 0}", c.Name()))); err != nil {
			return nil, nil, err
		}
		columns = append(columns, column{c, c.Name()})
	}
	ours = &shape{}
	for _, p := range w.parts {
		for _, r := range p.rows {
			if err := ours.take("", r.columns()); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, c := range ours.node().Fields() {
		columns = append(columns, column{c, c.Name()})
	}
	return ours, columns, nil
}

// parquetFile is an open file.
type parquetFile struct {
	*parquet.File
	close func() error
}

func openParquet(path string) (parquetFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return parquetFile{}, err
	}
	var file *parquet.File
	if err := task.Catch(func() error {
		stat, err := f.Stat()
		if err != nil {
			return err
		}
		file, err = parquet.OpenFile(f, stat.Size(), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
		return err
	}); err != nil {
		return parquetFile{}, errors.Join(fmt.Errorf("%s: not a parquet file, or cut off: %w", path, err), f.Close())
	}
	return parquetFile{file, f.Close}, nil
}

// copier copies the picked rows of one data set.
type copier struct {
	out     *parquet.GenericWriter[any]
	rows    []scored // remaining
	base    int      // rows of the data set in the previous files
	columns int      // leaf columns of a row
	ours    *shape
}

func (c *copier) file(ctx context.Context, f *parquet.File) error {
	end := c.base + int(f.NumRows())
	rows := parquet.NewReader(f)
	defer rows.Close()
	var buffer [1]parquet.Row
	for len(c.rows) > 0 && c.rows[0].Row < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := c.rows[0]
		if err := rows.SeekToRow(int64(r.Row - c.base)); err != nil {
			return err
		}
		if n, err := rows.ReadRows(buffer[:]); n != 1 {
			return fmt.Errorf("row %d: %w", r.Row, err)
		}
		row := buffer[0].Clone()
		for _, v := range shred(c.ours, r.columns()) {
			row = append(row, v.Level(v.RepetitionLevel(), v.DefinitionLevel(), c.columns+v.Column()))
		}
		if _, err := c.out.WriteRows([]parquet.Row{row}); err != nil {
			return err
		}
		c.rows = c.rows[1:]
	}
	c.base = end
	return nil
}
