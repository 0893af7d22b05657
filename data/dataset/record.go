package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	"dataflex.dev/dataflex/data"
)

// cell is a value of a row: JSON text, or (csv and text) a plain string.
type cell struct {
	kind jsontext.Kind // 0 = the row has no such column, which counts as null
	raw  jsontext.Value
	text string
}

// null reports that there is no value, though the column may exist.
func (c cell) null() bool { return c.kind == 'n' || c.kind == 0 }

// string returns the text of a cell of kind '"', and "" for any other.
func (c cell) string() string {
	if c.raw == nil || c.kind != '"' {
		return c.text
	}
	return unquote(c.raw)
}

func unquote(raw jsontext.Value) string {
	if body := raw[1 : len(raw)-1]; bytes.IndexByte(body, '\\') < 0 {
		return string(body)
	}
	text := unescape(raw[1 : len(raw)-1])
	return unsafe.String(unsafe.SliceData(text), len(text))
}

// unescape decodes the inside of a JSON string that is known to be valid: jsontext's
// AppendUnquote would check it again, which takes several times as long.
func unescape(body []byte) []byte {
	dst := make([]byte, 0, len(body))
	for {
		i := bytes.IndexByte(body, '\\')
		if i < 0 {
			return append(dst, body...)
		}
		dst = append(dst, body[:i]...)
		c := body[i+1]
		body = body[i+2:]
		switch c {
		case 'n':
			c = '\n'
		case 't':
			c = '\t'
		case 'r':
			c = '\r'
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'u':
			r := hexRune(body)
			body = body[4:]
			if utf16.IsSurrogate(r) {
				r = utf16.DecodeRune(r, hexRune(body[2:]))
				body = body[6:]
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}

// hexRune reads four hexadecimal digits.
func hexRune(digits []byte) (r rune) {
	for _, c := range digits[:4] {
		switch {
		case c <= '9':
			c -= '0'
		case c <= 'F':
			c -= 'A' - 10
		default:
			c -= 'a' - 10
		}
		r = r<<4 | rune(c)
	}
	return r
}

// record is a row with the columns that the entry names.
type record struct {
	attr   *attributes
	source source
	row    row
	header []string
	base   int // row of the dataset at which the file begins
	names  []string
	cells  []cell
	found  found
}

// found is what the rows read so far say about the whole dataset.
type found struct {
	seen  [maxNames]bool // names that a row has; see attributes.names
	words int            // csv fields that mean null (nullWords) in named columns
	first []string       // the columns of the first row
}

// maxNames is the maximum number of names in an entry: columns and two keys of a message.
const maxNames = 16

// add merges the findings of later rows.
func (f *found) add(g found) {
	for i, s := range g.seen {
		f.seen[i] = f.seen[i] || s
	}
	f.words += g.words
	if f.first == nil {
		f.first = g.first
	}
}

// columns lists the names in the entry, without the unused ones; the subtask last.
func (a *attributes) columns() []string {
	var out []string
	names := []string{a.messages}
	if a.format == "alpaca" {
		names = []string{a.prompt, a.query, a.response, a.history}
	}
	names = append(names, a.media...)
	for _, n := range append(names, a.system, a.tools, a.weight, a.subtask) {
		if n != "" {
			out = append(out, n)
		}
	}
	return out
}

// fill reads the named columns of a row. The record is reused from row to row.
func (r *record) fill(w row, csv bool) error {
	r.row = w
	clear(r.cells)
	if w.object == nil {
		r.fillFields(w, csv)
		return nil
	}
	err := r.members()
	if err == nil {
		return nil
	}
	if r.row.object = relaxed(w.object); r.members() == nil {
		return nil
	}
	r.row = w
	return err
}

func (r *record) fillFields(w row, csv bool) {
	for i, name := range r.names {
		j := slices.Index(r.header, name)
		if j < 0 {
			continue
		}
		r.found.seen[i] = true
		r.cells[i] = cell{kind: '"', text: w.fields[j]}
		if csv && nullWords[w.fields[j]] {
			r.cells[i] = cell{kind: 'n'}
			if w.fields[j] != "" {
				r.found.words++
			}
		}
	}
}

// members reads the named members of the row's object.
func (r *record) members() error {
	clear(r.cells)
	each := eachMemberStrict
	if r.row.loose {
		each = eachMember
	}
	return each(r.row.object, func(name []byte, v jsontext.Value) error {
		for i := range r.names {
			if r.names[i] == string(name) {
				r.cells[i] = cell{kind: v.Kind(), raw: v}
				r.found.seen[i] = true
			}
		}
		return nil
	})
}

// get returns a named column's cell. A row without the column has null there, as in Arrow,
// which reads all rows into one table; missing reports a column that no row has.
func (r *record) get(name string) cell {
	if i := slices.Index(r.names, name); i >= 0 && name != "" {
		return r.cells[i]
	}
	return cell{kind: 'n'}
}

// text returns a string column. Null, and a column that is not mapped, are "".
func (r *record) text(name string) (string, error) {
	switch c := r.get(name); {
	case c.null():
		return "", nil
	case c.kind != '"':
		return "", r.errorf("column '%s' is %s; a string is expected", name, kindName(c.kind))
	default:
		return c.string(), nil
	}
}

// subtask returns the row's subtask: a string, or a number or bool as it is written. Other
// values are an error only in a column that the entry names.
func (r *record) subtask() (string, error) {
	c := r.cells[len(r.cells)-1] // columns lists it last
	switch {
	case c.kind == '"':
		return c.string(), nil
	case c.kind == '0' || c.kind == 't' || c.kind == 'f':
		return string(c.raw), nil
	case !r.attr.subtaskGiven || c.null():
		return "", nil
	}
	return "", r.errorf("column '%s' is %s; the name of a subtask is expected", r.attr.subtask, kindName(c.kind))
}

// weight returns the row's weight: null, and no weight column, are 1.
func (r *record) weight() (w data.RowWeight, err error) {
	c := r.get(r.attr.weight)
	if c.null() {
		return w, nil
	}
	text := string(c.raw)
	if c.kind == '"' { // the only kind in CSV
		text = strings.TrimSpace(c.string())
	}
	x, err := strconv.ParseFloat(text, 32)
	if (c.kind != '0' && c.kind != '"') || err != nil || !(x >= 0) || math.IsInf(x, 1) {
		return w, r.errorf("column '%s' is %.40s; a weight is a number of at least 0 (null for 1)", r.attr.weight, text)
	}
	return data.RowWeight{Given: true, Value: float32(x)}, nil
}

// has lists the columns of the row.
func (r *record) has() []string {
	if r.row.object == nil {
		return r.header
	}
	have := []string{}
	// The row was parsed before, so that walking it again cannot fail.
	_ = eachMember(r.row.object, func(name []byte, _ jsontext.Value) error {
		have = append(have, "'"+string(name)+"'")
		return nil
	})
	return have
}

// missing is the error for a name that no row of the dataset has; nil where every required name
// exists. Required are the names in the entry, and of upstream's default names all except
// `input`.
func (a *attributes) missing(f found, files []source) error {
	for i, name := range a.columns() {
		optional := !a.columnsGiven && name == a.query || name == a.subtask && !a.subtaskGiven
		if !f.seen[i] && !optional {
			return fmt.Errorf("column '%s' is missing: no row of %s has it; the first row has %s. Name the right column under \"columns\" of %s in %s",
				name, strings.Join(paths(files), ", "), strings.Join(f.first, ", "), a.name, a.info)
		}
	}
	for i, key := range []struct{ name, tag string }{{a.role, "role_tag"}, {a.content, "content_tag"}} {
		if a.format != "alpaca" && f.seen[seenMessage] && !f.seen[seenRole+i] {
			return fmt.Errorf("no message of column '%s' has '%s'; name the key under \"tags\" of %s in %s (%s)", a.messages, key.name, a.name, a.info, key.tag)
		}
	}
	return nil
}

// Indices of found.seen after those of the columns.
const (
	seenMessage = maxNames - 3 // a message that is not empty
	seenRole    = maxNames - 2
	seenContent = maxNames - 1
)

func (r *record) errorf(format string, args ...any) error {
	return &rowError{dataset: r.attr.name, source: r.source, row: r.row, base: r.base, err: fmt.Errorf(format, args...)}
}

// rowError is an error in a row's content.
type rowError struct {
	dataset string
	source  source
	row     row
	base    int
	line    int
	err     error
}

func (e *rowError) Error() string {
	where := fmt.Sprintf("dataset %s, row %d", e.dataset, e.row.number)
	if e.line > 0 {
		where += fmt.Sprintf(" (line %d)", e.line)
	}
	where += " of " + e.source.path
	if e.base > 0 {
		where += fmt.Sprintf(" (row %d of the dataset)", e.base+e.row.number)
	}
	return where + ": " + e.err.Error()
}

func (e *rowError) Unwrap() error { return e.err }

// Locate finds the line of a row's error, for its message.
func Locate(err error) error {
	var e *rowError
	if errors.As(err, &e) {
		e.line = e.source.line(e.row.offset)
	}
	return err
}

// decoders are pooled because a jsontext.Decoder is large and a row is small.
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(bytes.NewReader(nil), jsontext.AllowDuplicateNames(true)) }}

// eachMember calls f with every member of a JSON object, in order. The name is only valid
// during the call, the value as long as object is.
func eachMember(object jsontext.Value, f func(name []byte, v jsontext.Value) error) error {
	return walk(object, readMember(object, f), jsontext.AllowDuplicateNames(true))
}

// eachMemberStrict is eachMember for an object that was not parsed before: duplicate names, and
// anything after the object, are errors.
func eachMemberStrict(object jsontext.Value, f func(name []byte, v jsontext.Value) error) error {
	return walk(object, readMember(object, f))
}

func readMember(object jsontext.Value, f func(name []byte, v jsontext.Value) error) func(*jsontext.Decoder) error {
	var scratch [64]byte
	return func(d *jsontext.Decoder) error {
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		name, err := jsontext.AppendUnquote(scratch[:0], raw)
		if err != nil {
			return err
		}
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		end := d.InputOffset()
		return f(name, object[end-int64(len(v)):end])
	}
}

// eachElement calls f with every element of a JSON array, in order.
func eachElement(array jsontext.Value, f func(v jsontext.Value) error) error {
	return walk(array, func(d *jsontext.Decoder) error {
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		end := d.InputOffset()
		return f(array[end-int64(len(v)) : end])
	}, jsontext.AllowDuplicateNames(true))
}

// walk calls f until it has read all members or elements, and checks that nothing follows.
func walk(value jsontext.Value, f func(*jsontext.Decoder) error, options ...jsontext.Options) error {
	d := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(d)
	d.Reset(bytes.NewBuffer(value), options...)
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for {
		switch d.PeekKind() {
		case ']', '}':
			if _, err := d.ReadToken(); err != nil {
				return err
			}
			if _, err := d.ReadToken(); err != io.EOF {
				return errSecond
			}
			return nil
		}
		if err := f(d); err != nil {
			return err
		}
	}
}

var errSecond = errors.New("unexpected text after the object; each row must be on a line of its own")
