package dataset

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// row is one row as it stands in its file.
type row struct {
	number int      // in its file, from 0
	offset int64    // where it starts in the file's (uncompressed) text
	object []byte   // JSON object; nil for the other kinds
	fields []string // csv and text: one per header name, "" = null
}

// size is about the bytes of the row's text.
func (w row) size() int {
	n := len(w.object)
	for _, f := range w.fields {
		n += len(f)
	}
	return n
}

// rowReader reads the rows of one file in order; io.EOF after the last.
type rowReader interface {
	next() (row, error)
	// header names the fields; nil where every row names its own.
	header() []string
}

// reader opens a source. Errors of the reader it returns name file, row, line and
// byte. columns are the ones that will be asked for.
func (s source) reader(columns []string) (rowReader, io.Closer, error) {
	if s.kind == "parquet" {
		return newParquetRows(s, columns)
	}
	text, skipped, closer, err := s.open()
	if err != nil {
		return nil, nil, err
	}
	switch s.kind {
	case "json":
		return &jsonLines{source: s, text: text, offset: skipped}, closer, nil
	case "csv":
		r, err := newCSVRows(s, text)
		if err != nil {
			return nil, nil, errors.Join(err, closer.Close())
		}
		return r, closer, nil
	}
	return &textRows{source: s, text: text, offset: skipped}, closer, nil
}

// place is where reading failed.
func (s source) place(number int, offset int64) string {
	if line := s.line(offset); line > 0 {
		return fmt.Sprintf("%s, row %d, line %d (byte %d)", s.path, number, line, offset)
	}
	return fmt.Sprintf("%s, row %d (byte %d)", s.path, number, offset)
}

// failure words an error of reading at an offset; a file that ends too soon is said
// to be cut off.
func (s source) failure(err error, number int, offset int64) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: the file is cut off here: %w", s.place(number, offset), io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s: %w", s.place(number, offset), err)
}

// jsonRows reads a JSON array of objects, or objects one after another (JSON lines).
type jsonRows struct {
	source  source
	decoder *jsontext.Decoder
	skipped int64
	number  int
	started bool
	array   bool
}

// jsonLines reads objects that stand on lines of their own without looking inside: the
// workers do. Where a line does not look like one, jsonRows reads on from there.
type jsonLines struct {
	source source
	text   *bufio.Reader
	offset int64  // of what is read next
	block  []byte // what lines are cut from
	number int
	rest   *jsonRows
}

// lineBlock is how much memory is taken for lines at once.
const lineBlock = 1 << 20

func (r *jsonLines) header() []string { return nil }

func (r *jsonLines) next() (row, error) {
	for r.rest == nil {
		at := r.offset
		line, err := r.line()
		object := bytes.TrimSpace(line)
		switch {
		case err != nil && err != io.EOF:
			return row{}, r.source.failure(err, r.number, r.offset)
		case len(object) == 0 && err == io.EOF:
			return row{}, io.EOF
		case len(object) == 0:
			continue
		case object[0] != '{' || object[len(object)-1] != '}':
			r.rest = newJSONRows(r.source, io.MultiReader(bytes.NewReader(line), r.text), at)
			r.rest.number, r.rest.started = r.number, r.number > 0
			continue
		}
		out := row{number: r.number, offset: at + int64(len(line)-len(bytes.TrimLeft(line, " \t\r\n"))), object: object}
		r.number++
		return out, nil
	}
	return r.rest.next()
}

// line returns the next line with its end, in memory that stays.
func (r *jsonLines) line() ([]byte, error) {
	if cap(r.block)-len(r.block) < lineBlock/8 {
		r.block = make([]byte, 0, lineBlock)
	}
	from := len(r.block)
	for {
		part, err := r.text.ReadSlice('\n')
		r.block = append(r.block, part...)
		r.offset += int64(len(part))
		if err != bufio.ErrBufferFull {
			line := r.block[from:len(r.block):len(r.block)]
			return line, err
		}
	}
}

func newJSONRows(s source, text io.Reader, skipped int64) *jsonRows {
	return &jsonRows{source: s, decoder: jsontext.NewDecoder(text), skipped: skipped}
}

func (r *jsonRows) header() []string { return nil }

func (r *jsonRows) next() (row, error) {
	if !r.started {
		r.started = true
		if r.decoder.PeekKind() == '[' {
			r.array = true
			if _, err := r.decoder.ReadToken(); err != nil {
				return row{}, r.fail(err)
			}
		}
	}
	kind := r.decoder.PeekKind()
	switch {
	case r.array && kind == ']':
		return row{}, r.end()
	case kind != '{' && kind != 0:
		return row{}, r.source.failure(fmt.Errorf("the row is %s; an object of columns is expected", kindName(kind)), r.number, r.here())
	}
	value, err := r.decoder.ReadValue()
	if err == io.EOF && !r.array {
		return row{}, io.EOF
	}
	if err != nil {
		return row{}, r.fail(err)
	}
	out := row{number: r.number, offset: r.here() - int64(len(value)), object: bytes.Clone(value)}
	r.number++
	return out, nil
}

// end checks that nothing follows the array.
func (r *jsonRows) end() error {
	if _, err := r.decoder.ReadToken(); err != nil {
		return r.fail(err)
	}
	if _, err := r.decoder.ReadToken(); err != io.EOF {
		return r.source.failure(errors.New("there is something after the array's closing bracket"), r.number, r.here())
	}
	return io.EOF
}

func (r *jsonRows) here() int64 { return r.decoder.InputOffset() + r.skipped }

func (r *jsonRows) fail(err error) error {
	at := r.here()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		at = syntax.ByteOffset + r.skipped
		err = syntax.Err
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return r.source.failure(err, r.number, at)
}

// syntax places a fault of JSON inside a row.
func (s source) syntax(err error, w row) error {
	at := w.offset
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		at += syntax.ByteOffset
		err = syntax.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the object does not end on its line")
	}
	return s.failure(err, w.number, at)
}

// kindName names a JSON kind for a message.
func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return "missing"
}

// csvRows reads comma-separated values with a header row; an empty field is null.
type csvRows struct {
	source source
	csv    *csv.Reader
	names  []string
	number int
}

func newCSVRows(s source, text io.Reader) (*csvRows, error) {
	r := &csvRows{source: s, csv: csv.NewReader(text)}
	r.csv.FieldsPerRecord = -1
	names, err := r.csv.Read()
	if err == io.EOF {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: the header: %w", s.path, err)
	}
	r.names = names
	return r, nil
}

func (r *csvRows) header() []string { return r.names }

func (r *csvRows) next() (row, error) {
	at := r.csv.InputOffset()
	fields, err := r.csv.Read()
	if err == io.EOF {
		return row{}, io.EOF
	}
	if err != nil {
		return row{}, fmt.Errorf("%s, row %d: %w", r.source.path, r.number, err)
	}
	if len(fields) > len(r.names) {
		return row{}, r.source.failure(fmt.Errorf("%d fields, but the header names %d", len(fields), len(r.names)), r.number, at)
	}
	for i, f := range fields {
		if !utf8.ValidString(f) {
			return row{}, r.source.failure(fmt.Errorf("column %q is not UTF-8", r.names[i]), r.number, at)
		}
	}
	for len(fields) < len(r.names) {
		fields = append(fields, "")
	}
	out := row{number: r.number, offset: at, fields: slices.Clone(fields)}
	r.number++
	return out, nil
}

// textRows reads plain text: one row a line, in the column "text". Blank lines are
// rows too.
type textRows struct {
	source source
	text   *bufio.Reader
	offset int64
	number int
}

func (r *textRows) header() []string { return []string{"text"} }

func (r *textRows) next() (row, error) {
	line, err := r.text.ReadString('\n')
	if err == io.EOF && line == "" {
		return row{}, io.EOF
	}
	if err != nil && err != io.EOF {
		return row{}, r.source.failure(err, r.number, r.offset+int64(len(line)))
	}
	if !utf8.ValidString(line) {
		return row{}, r.source.failure(errors.New("the line is not UTF-8"), r.number, r.offset)
	}
	out := row{number: r.number, offset: r.offset}
	r.offset += int64(len(line))
	r.number++
	out.fields = []string{strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")}
	return out, nil
}
