package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestMessage reads the examples of protobuf.dev/programming-guides/encoding, and numbers of
// four and eight bytes, and refuses what ends too early or is of a kind that files have not.
func TestMessage(t *testing.T) {
	for _, c := range []struct {
		data string
		want []string // nil: refused
	}{
		{"", []string{}},
		{"\x08\x96\x01", []string{`1 "" 150`}},
		{"\x12\x07testing", []string{`2 "testing" 0`}},
		{"\x1a\x03\x08\x96\x01\xfa\x02\x00", []string{`3 "\b\x96\x01" 0`, `47 "" 0`}},
		{"\x15\x00\x00\x80\x3f\x19\x01\x00\x00\x00\x00\x00\x00\x80", []string{`2 "" 1065353216`, `3 "" 9223372036854775809`}},
		{"\x08", nil},
		{"\x08\x96", nil},
		{"\x12\x07testin", nil},
		{"\x12", nil},
		{"\x15\x00\x00\x80", nil},
		{"\x19\x01", nil},
		{"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", nil}, // longer than memory
		{"\x0b\x0c", nil}, // a group
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", nil},
	} {
		got := []string{}
		err := message([]byte(c.data), func(field uint64, v []byte, n uint64) error {
			got = append(got, fmt.Sprintf("%d %q %d", field, v, n))
			return nil
		})
		if (err != nil) != (c.want == nil) || err != nil && !errors.Is(err, errWire) {
			t.Errorf("%q: %v", c.data, err)
		}
		if c.want != nil && !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.data, got, c.want)
		}
	}
}
