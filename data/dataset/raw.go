package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Rows yields the rows of the dataset with these numbers, ascending, with every column whether
// the entry names it or not: a JSON object on one line, byte for byte that of a JSON file; csv,
// text and parquet rows as the objects they are read as. A number beyond the last row is an
// error.
func (s *Source) Rows(ctx context.Context, numbers []int, yield func(number int, object []byte) error) error {
	left := numbers
	base := 0
	for _, f := range s.files {
		if len(left) == 0 {
			return nil
		}
		n, err := f.pick(ctx, base, &left, yield)
		if err != nil {
			return fmt.Errorf("dataset %s: %w", s.Name, err)
		}
		base += n
	}
	if len(left) > 0 {
		return fmt.Errorf("dataset %s: there is no row %d: its files hold %d rows; they are not those that were scored", s.Name, left[0], base)
	}
	return nil
}

// pick yields the rows of one file, whose first row is number base of the dataset, and counts
// the rows it reads: up to the last one wanted.
func (s source) pick(ctx context.Context, base int, left *[]int, yield func(int, []byte) error) (n int, err error) {
	rows, closer, err := s.reader(nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	for ; len(*left) > 0; n++ {
		w, err := rows.next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if n%batchRows == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
		if (*left)[0] != base+n {
			continue
		}
		*left = (*left)[1:]
		object := w.object
		if object == nil {
			if object, err = s.object(rows.header(), w.fields); err != nil {
				return n, err
			}
		}
		if err := yield(base+n, onOneLine(object)); err != nil {
			return n, err
		}
	}
	return n, nil
}

// object converts a row of csv or text; a csv field that is a word for null becomes null.
func (s source) object(header, fields []string) (out []byte, err error) {
	out = append(out, '{')
	for i, name := range header {
		if i > 0 {
			out = append(out, ", "...)
		}
		if out, err = jsontext.AppendQuote(out, name); err != nil {
			return nil, err
		}
		out = append(out, ": "...)
		if s.kind == "csv" && nullWords[fields[i]] {
			out = append(out, "null"...)
		} else if out, err = jsontext.AppendQuote(out, fields[i]); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// onOneLine removes the line ends from an object and changes nothing else: between its parts
// they are white space; inside a string, where strict JSON allows none, they are written as
// escapes.
func onOneLine(object []byte) []byte {
	if !slices.ContainsFunc(object, func(c byte) bool { return c == '\n' || c == '\r' }) {
		return object
	}
	out := make([]byte, 0, len(object))
	quoted, escaped := false, false
	for _, c := range object {
		switch {
		case c == '\n' && quoted:
			out = append(out, `\n`...)
		case c == '\r' && quoted:
			out = append(out, `\r`...)
		case c != '\n' && c != '\r':
			out = append(out, c)
		}
		quoted = quoted != (c == '"' && !escaped)
		escaped = quoted && c == '\\' && !escaped
	}
	return out
}

// Kind is how the dataset's files are read: json, csv, text or parquet.
func (s *Source) Kind() string { return s.files[0].kind }

// whereabouts are the keys of an entry that say where its rows are stored, not what they mean.
var whereabouts = []string{
	"hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name", "file_sha1", "subset", "split", "revision", "folder", "num_samples",
}

// Description is what dataset_info.json says about the rows of a data set: its entry without
// the keys that say where they are stored.
func (c *Catalog) Description(name string) (map[string]json.RawMessage, error) {
	var entry map[string]json.RawMessage
	if err := json.Unmarshal(c.info.entries[name], &entry); err != nil {
		return nil, fmt.Errorf("dataset %s in %s: %w", name, c.info.path, err)
	}
	for _, key := range whereabouts {
		delete(entry, key)
	}
	return entry, nil
}
