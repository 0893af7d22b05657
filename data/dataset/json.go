package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonRows splits a JSON array of objects, or a sequence of objects, into rows without parsing
// them: the workers do that. It accepts the union of what Python's json, pandas and Arrow
// accept: several objects on a line, objects over several lines, null instead of an object in a
// JSON-lines file.
type jsonRows struct {
	source source
	text   *bufio.Reader
	offset int64 // of what is read next
	number int
	begun  bool // something other than white space was read
	array  bool // inside the one array that holds the rows
	ended  bool // the array's closing bracket was read
	loose  bool // duplicate names are accepted, as by pandas in an array
}

func newJSONRows(s source, text io.Reader, offset int64) *jsonRows {
	return &jsonRows{source: s, text: bufio.NewReaderSize(text, 1<<16), offset: offset}
}

func (r *jsonRows) header() []string { return nil }

func (r *jsonRows) next() (row, error) {
	for {
		c, err := r.peek()
		switch {
		case err == io.EOF && r.array && !r.ended:
			return row{}, r.source.failure(io.ErrUnexpectedEOF, r.number, r.offset)
		case err == io.EOF:
			return row{}, io.EOF
		case err != nil:
			return row{}, r.source.failure(err, r.number, r.offset)
		case r.ended:
			return row{}, r.source.failure(errors.New("unexpected text after the array's closing bracket"), r.number, r.offset)
		case c == '[' && !r.begun:
			r.begun, r.array, r.loose = true, true, true
			r.skip()
			if c, err = r.peek(); err == nil && c == ']' {
				r.close()
			}
			continue
		}
		r.begun = true
		out, err := r.value()
		if err != nil {
			return row{}, err
		}
		if r.array {
			if err := r.separator(); err != nil {
				return row{}, err
			}
		}
		if bytes.Equal(out.object, []byte("null")) {
			if !r.array {
				continue
			}
			out.object = []byte("{}")
		}
		if k := jsontext.Value(out.object).Kind(); k != '{' {
			return row{}, r.source.failure(fmt.Errorf("the row is %s; an object of columns is expected", kindName(k)), r.number, out.offset)
		}
		r.number++
		return out, nil
	}
}

// peek skips white space and returns the byte after it, which stays unread.
func (r *jsonRows) peek() (byte, error) {
	for {
		b, err := r.text.Peek(1)
		if len(b) == 0 {
			return 0, err
		}
		switch b[0] {
		case ' ', '\t', '\r', '\n':
			r.skip()
		default:
			return b[0], nil
		}
	}
}

// skip reads the byte that was peeked at.
func (r *jsonRows) skip() {
	_, _ = r.text.Discard(1) // the byte is buffered
	r.offset++
}

func (r *jsonRows) close() {
	r.skip()
	r.ended = true
}

// separator reads the comma after an element of the array, or the end of the array.
func (r *jsonRows) separator() error {
	c, err := r.peek()
	switch {
	case err == io.EOF:
		return r.source.failure(io.ErrUnexpectedEOF, r.number+1, r.offset)
	case err != nil:
		return r.source.failure(err, r.number, r.offset)
	case c == ']':
		r.close()
		return nil
	case c == ',':
		r.skip()
		if c, err := r.peek(); err == nil && (c == ']' || c == ',') {
			return r.source.failure(fmt.Errorf("there is a comma and no row before %q", c), r.number+1, r.offset)
		}
		return nil
	}
	return r.source.failure(fmt.Errorf("invalid character %q after a row of the array; a comma is expected", c), r.number, r.offset)
}

// value reads one JSON value without checking it: to its closing bracket or quote, or to a
// character that cannot belong to a number or a word. Whether it is well formed is checked when
// its members are read.
func (r *jsonRows) value() (row, error) {
	out := row{number: r.number, offset: r.offset, loose: r.loose}
	var e extent
	for {
		chunk, err := r.text.Peek(max(1, r.text.Buffered()))
		if len(chunk) == 0 {
			if err == io.EOF && len(out.object) > 0 && e.word {
				return out, nil
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return out, r.source.failure(err, r.number, r.offset)
		}
		n, done := e.scan(chunk)
		out.object = append(out.object, chunk[:n]...)
		_, _ = r.text.Discard(n) // they are buffered
		r.offset += int64(n)
		switch {
		case done && len(out.object) == 0:
			return out, r.source.failure(fmt.Errorf("invalid character %q at the start of a row", chunk[0]), r.number, r.offset)
		case done:
			return out, nil
		}
	}
}

// extent finds the end of a JSON value that is read in chunks.
type extent struct {
	depth   int
	quoted  bool // inside a string
	escaped bool // after a backslash
	word    bool // a number, true, false, null, NaN, Infinity
}

// scan returns how much of chunk belongs to the value, and whether the value ends there.
func (e *extent) scan(chunk []byte) (n int, done bool) {
	for i, c := range chunk {
		switch {
		case e.escaped:
			e.escaped = false
		case e.quoted:
			switch c {
			case '\\':
				e.escaped = true
			case '"':
				e.quoted = false
				if e.depth == 0 {
					return i + 1, true
				}
			}
		case e.word:
			switch c {
			case ' ', '\t', '\r', '\n', ',', ']', '}', '[', '{', '"', ':':
				return i, true
			}
		case c == '"':
			e.quoted = true
		case c == '{' || c == '[':
			e.depth++
		case c == '}' || c == ']':
			e.depth--
			if e.depth <= 0 {
				return i + 1 + min(e.depth, 0), true
			}
		case e.depth == 0:
			if c == ',' || c == ':' {
				return i, true
			}
			e.word = true
		}
	}
	return len(chunk), false
}

// oneValue reports whether a line that begins and ends with braces holds only one object.
func oneValue(text []byte) bool {
	for rest := text; ; {
		i := bytes.IndexByte(rest, '}')
		if i < 0 {
			return true
		}
		rest = bytes.TrimLeft(rest[i+1:], " \t\r\n")
		if len(rest) > 0 && rest[0] == '{' {
			break // another object, or a string that looks like it
		}
	}
	var e extent
	n, done := e.scan(text)
	return !done || len(bytes.TrimLeft(text[n:], " \t\r\n")) == 0
}

// relaxed rewrites a row as strict JSON, as pandas reads it: NaN and the infinities become
// null, control characters in strings are escaped, and unpaired surrogates are removed.
func relaxed(object []byte) []byte {
	out := make([]byte, 0, len(object)+16)
	for i := 0; i < len(object); {
		switch c := object[i]; c {
		case '"':
			i, out = relaxedString(object, i, out)
			continue
		case 'N', 'I', '-':
			if n := wordOfNoNumber(object[i:]); n > 0 {
				out = append(out, "null"...)
				i += n
				continue
			}
		}
		out = append(out, object[i])
		i++
	}
	return out
}

// wordOfNoNumber is the length of the NaN or infinity that text begins with, or 0.
func wordOfNoNumber(text []byte) int {
	for _, w := range []string{"NaN", "-NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(text, []byte(w)) {
			return len(w)
		}
	}
	return 0
}

// relaxedString copies the string that starts at object[i] and returns the index after it.
func relaxedString(object []byte, i int, out []byte) (int, []byte) {
	out = append(out, '"')
	for i++; i < len(object); {
		c := object[i]
		switch {
		case c == '"':
			return i + 1, append(out, '"')
		case c < 0x20:
			out = fmt.Appendf(out, `\u%04x`, c)
			i++
		case c == '\\' && i+1 < len(object) && object[i+1] == 'u':
			n, whole := surrogate(object[i:])
			if whole {
				out = append(out, object[i:i+n]...)
			}
			i += n
		case c == '\\' && i+1 < len(object):
			out = append(out, c, object[i+1])
			i += 2
		default:
			out = append(out, c)
			i++
		}
	}
	return i, out
}

// surrogate examines a \u escape: its length, including that of its other half, and whether it
// is a character; an unpaired surrogate is not.
func surrogate(text []byte) (n int, whole bool) {
	if !isHex(text) {
		return min(2, len(text)), true // a fault, which the parser reports
	}
	switch r := hexRune(text[2:]); {
	case r>>10 == 0xd800>>10:
		if rest := text[6:]; isHex(rest) && hexRune(rest[2:])>>10 == 0xdc00>>10 {
			return 12, true
		}
		return 6, false
	case r>>10 == 0xdc00>>10:
		return 6, false
	}
	return 6, true
}

// isHex reports whether text begins with \u and four hexadecimal digits.
func isHex(text []byte) bool {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return false
	}
	for _, c := range text[2:6] {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return true
}
