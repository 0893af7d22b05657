package dataset

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"dataflex.dev/dataflex/data/storage"
)

// csvRows reads comma-separated values with a header row as pandas' C parser does, which
// upstream uses:
//
//   - a quote opens a quoted field only at the field's start; anywhere else it is
//     text, and text after a closing quote continues the same field;
//   - inside quotes line ends are kept; outside \n, \r\n and a lone \r end a row;
//   - lines that are empty or blank are not rows;
//   - a row with fewer fields than the header has null in the others.
//
// A row with more fields than the header is an error here; pandas makes an index column of the
// first field, which shifts the others.
type csvRows struct {
	source source
	text   *bufio.Reader
	names  []string
	number int
	offset int64 // of what is read next
}

func newCSVRows(s source, text *bufio.Reader, offset int64) (*csvRows, error) {
	r := &csvRows{source: s, text: text, offset: offset}
	names, _, err := r.fields()
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: the header: %w", s.path, err)
	}
	r.names = names
	return r, nil
}

func (r *csvRows) header() []string { return r.names }

func (r *csvRows) next() (row, error) {
	fields, at, err := r.fields()
	if err == io.EOF {
		return row{}, io.EOF
	}
	switch {
	case err != nil:
		return row{}, r.source.failure(err, r.number, at)
	case len(fields) > len(r.names):
		return row{}, r.source.failure(fmt.Errorf("%d fields, but the header names %d", len(fields), len(r.names)), r.number, at)
	}
	for i, f := range fields {
		if !utf8.ValidString(f) {
			return row{}, r.source.failure(fmt.Errorf("column %q is not UTF-8: %s", r.names[i], storage.Latin(r.source.path)), r.number, at)
		}
	}
	for len(fields) < len(r.names) {
		fields = append(fields, "")
	}
	out := row{number: r.number, offset: at, fields: fields}
	r.number++
	return out, nil
}

// fields reads a row that is not blank and returns its offset; io.EOF after the last.
func (r *csvRows) fields() (fields []string, at int64, err error) {
	for {
		at = r.offset
		fields, quoted, err := r.line()
		if err != nil || len(fields) > 1 || quoted || strings.Trim(fields[0], " \t") != "" {
			return fields, at, err
		}
	}
}

var errOpenQuote = errors.New("the file ends inside a quoted field: a closing quote is missing")

// line reads the fields of one line, and reports whether any was quoted.
func (r *csvRows) line() (fields []string, anyQuoted bool, err error) {
	var field []byte
	start, quoted, begun := true, false, false
	for {
		c, err := r.text.ReadByte()
		switch {
		case err == io.EOF && quoted:
			return nil, anyQuoted, errOpenQuote
		case err == io.EOF && begun:
			return append(fields, string(field)), anyQuoted, nil
		case err != nil:
			return nil, anyQuoted, err
		}
		r.offset++
		begun = true
		switch {
		case quoted && c == '"':
			if !r.follows('"') {
				quoted = false
				continue
			}
			field = append(field, '"')
		case quoted:
			field = append(field, c)
		case c == '"' && start:
			quoted, anyQuoted, start = true, true, false
		case c == ',':
			fields = append(fields, string(field))
			field, start = field[:0], true
		case c == '\n' || c == '\r':
			if c == '\r' {
				r.follows('\n')
			}
			return append(fields, string(field)), anyQuoted, nil
		default:
			field = append(field, c)
			start = false
		}
	}
}

// follows consumes the next byte if it is c.
func (r *csvRows) follows(c byte) bool {
	if b, _ := r.text.Peek(1); len(b) == 0 || b[0] != c {
		return false
	}
	_, _ = r.text.Discard(1) // the byte is buffered
	r.offset++
	return true
}

// nullWords are the fields that pandas reads as null (its default na_values).
var nullWords = map[string]bool{
	"": true, "#N/A": true, "#N/A N/A": true, "#NA": true, "-1.#IND": true, "-1.#QNAN": true, "-NaN": true, "-nan": true,
	"1.#IND": true, "1.#QNAN": true, "<NA>": true, "N/A": true, "NA": true, "NULL": true, "NaN": true, "None": true,
	"n/a": true, "nan": true, "null": true,
}
