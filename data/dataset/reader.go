package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"dataflex.dev/dataflex/data/storage"
)

// row is one row as it is written in its file.
type row struct {
	number int      // in its file, from 0
	offset int64    // where it starts in the file's (uncompressed) text
	object []byte   // JSON object; nil for the other kinds
	fields []string // csv and text: one per header name
	loose  bool     // duplicate names are accepted, the last one counts
}

// size is about the size of the row's text in bytes.
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

// reader opens a source. Errors of the returned reader name file, row, line and byte. columns
// are the ones that will be read; nil means all of them.
func (s source) reader(columns []string) (rowReader, io.Closer, error) {
	if s.kind == "parquet" {
		return newParquetRows(s, columns)
	}
	text, skipped, bound, closer, err := s.open()
	if err != nil {
		return nil, nil, err
	}
	switch s.kind {
	case "json":
		return boundedRows{&jsonLines{source: s, text: text, offset: skipped}, bound}, closer, nil
	case "csv":
		r, err := newCSVRows(s, text, skipped)
		if err != nil {
			return nil, nil, errors.Join(err, closer.Close())
		}
		return boundedRows{r, bound}, closer, nil
	}
	return boundedRows{&textRows{source: s, text: text, offset: skipped}, bound}, closer, nil
}

// place describes where reading failed.
func (s source) place(number int, offset int64) string {
	if line := s.line(offset); line > 0 {
		return fmt.Sprintf("%s, row %d, line %d (byte %d)", s.path, number, line, offset)
	}
	return fmt.Sprintf("%s, row %d (byte %d)", s.path, number, offset)
}

// failure describes an error of reading at an offset; a file that ends too soon is reported as
// truncated.
func (s source) failure(err error, number int, offset int64) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: the file is cut off here: %w", s.place(number, offset), io.ErrUnexpectedEOF)
	}
	if strings.HasSuffix(err.Error(), "invalid UTF-8") { // jsontext has no value for it
		return fmt.Errorf("%s: %w: %s", s.place(number, offset), err, storage.Latin(s.path))
	}
	return fmt.Errorf("%s: %w", s.place(number, offset), err)
}

// jsonLines reads objects that are each on one line without parsing them: the workers do that.
// Where a line does not look like one object, jsonRows continues from there.
type jsonLines struct {
	source source
	text   *bufio.Reader
	offset int64  // of what is read next
	block  []byte // the memory that lines are cut from
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
		case object[0] != '{' || object[len(object)-1] != '}' || !oneValue(object):
			r.rest = newJSONRows(r.source, io.MultiReader(bytes.NewReader(line), r.text), at)
			r.rest.number, r.rest.begun = r.number, r.number > 0
			continue
		}
		out := row{number: r.number, offset: at + int64(len(line)-len(bytes.TrimLeft(line, " \t\r\n"))), object: object}
		r.number++
		return out, nil
	}
	return r.rest.next()
}

// line returns the next line with its end, in memory that is not reused.
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

// syntax locates a JSON syntax error inside a row.
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

// textRows reads plain text: one row a line, in the column "text". Blank lines are rows, too.
// As with Python's universal newlines, \n, \r\n and a lone \r end a line.
type textRows struct {
	source source
	text   *bufio.Reader
	offset int64
	number int
}

func (r *textRows) header() []string { return []string{"text"} }

func (r *textRows) next() (row, error) {
	var line []byte
	at := r.offset
	for {
		c, err := r.text.ReadByte()
		if err == io.EOF && r.offset == at {
			return row{}, io.EOF
		}
		if err != nil && err != io.EOF {
			return row{}, r.source.failure(err, r.number, r.offset)
		}
		if err == io.EOF {
			break
		}
		r.offset++
		if c == '\r' {
			if b, _ := r.text.Peek(1); len(b) == 1 && b[0] == '\n' {
				_, _ = r.text.Discard(1) // the byte is buffered
				r.offset++
			}
			break
		}
		if c == '\n' {
			break
		}
		line = append(line, c)
	}
	if !utf8.Valid(line) {
		return row{}, r.source.failure(errors.New("the line is not UTF-8: "+storage.Latin(r.source.path)), r.number, at)
	}
	out := row{number: r.number, offset: at, fields: []string{string(line)}}
	r.number++
	return out, nil
}
