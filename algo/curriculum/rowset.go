package curriculum

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// rowSet is a set of rows, as a bitmap.
type rowSet []uint64

func newRowSet(rows int) rowSet { return make(rowSet, (rows+63)/64) }

func (s rowSet) has(row int) bool { return s[row/64]&(1<<(row%64)) != 0 }
func (s rowSet) add(rows []int) {
	for _, r := range rows {
		s[r/64] |= 1 << (r % 64)
	}
}

func (s rowSet) remove(rows []int) {
	for _, r := range rows {
		s[r/64] &^= 1 << (r % 64)
	}
}

// without returns the rows that are not in the set, in their order.
func (s rowSet) without(rows []int) (out []int) {
	for _, r := range rows {
		if !s.has(r) {
			out = append(out, r)
		}
	}
	return out
}

func (s rowSet) pack() []byte {
	raw := make([]byte, 8*len(s))
	for i, w := range s {
		for b := range 8 {
			raw[8*i+b] = byte(w >> (8 * b))
		}
	}
	return pack(raw)
}

func (s rowSet) unpack(packed []byte) error {
	raw, err := unpack(packed, 8*len(s))
	if err != nil {
		return err
	}
	for i := range s {
		s[i] = 0
		for b := range 8 {
			s[i] |= uint64(raw[8*i+b]) << (8 * b)
		}
	}
	return nil
}

var packer = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic("curriculum: " + err.Error()) // the options are constants
	}
	return e
})

func pack(raw []byte) []byte { return packer().EncodeAll(raw, nil) }

// unpack decompresses n bytes written by pack.
func unpack(packed []byte, n int) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(n)+1<<20))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	raw, err := d.DecodeAll(packed, nil)
	if err == nil && len(raw) != n {
		err = fmt.Errorf("%d bytes where %d are expected", len(raw), n)
	}
	return raw, err
}
