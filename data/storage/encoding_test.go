package storage

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"
)

// TestNotUTF8: texts in UTF-16 and UTF-32 are refused by name, with the command that converts
// them; UTF-8 texts, marked or not, short or with a zero byte, are not.
func TestNotUTF8(t *testing.T) {
	wide := func(order binary.ByteOrder, size int, text string) []byte {
		var out []byte
		units := utf16.Encode([]rune(text))
		for _, u := range units {
			b := make([]byte, size)
			if size == 2 {
				order.PutUint16(b, u)
			} else {
				order.PutUint32(b, uint32(u))
			}
			out = append(out, b...)
		}
		return out
	}
	le, be := binary.LittleEndian, binary.BigEndian
	for name, c := range map[string]struct {
		text []byte
		want string // the encoding; "" = may be UTF-8
	}{
		"UTF-16LE, marked": {wide(le, 2, "\ufeff{}"), "UTF-16"},
		"UTF-16BE, marked": {wide(be, 2, "\ufeff中"), "UTF-16"},
		"only a mark":      {wide(le, 2, "\ufeff"), "UTF-16"},
		"UTF-32LE, marked": {wide(le, 4, "\ufeff{"), "UTF-32"},
		"UTF-32BE, marked": {wide(be, 4, "\ufeff{"), "UTF-32"},
		"UTF-16LE":         {wide(le, 2, `{"a"`), "UTF-16LE"},
		"UTF-16BE":         {wide(be, 2, `[{`), "UTF-16BE"},
		"UTF-32LE":         {wide(le, 4, `[`), "UTF-32LE"},
		"UTF-32BE":         {wide(be, 4, `[`), "UTF-32BE"},
		"nothing":          {nil, ""},
		"a letter":         {[]byte("a"), ""},
		"UTF-8":            {[]byte("hello"), ""},
		"UTF-8, marked":    {[]byte("\xef\xbb\xbf{}"), ""},
		"a zero byte":      {[]byte("ab\x00c"), ""},
		"zero bytes":       {make([]byte, 8), ""},
		"Latin-1":          {[]byte("\xe9t\xe9"), ""},
	} {
		err := NotUTF8("my file", c.text)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), "my file is in "+c.want+",") || !strings.Contains(err.Error(), "iconv -f "+c.want+" -t UTF-8 'my file' >")):
			t.Errorf("%s: %v", name, err)
		}
	}
}
