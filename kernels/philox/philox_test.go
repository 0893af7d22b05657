package philox

import "testing"

// TestKnownAnswers: Random123's known answers (kat_vectors, philox4x32 10).
func TestKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		ctr  [4]uint32
		key  [2]uint32
		want [4]uint32
	}{
		{want: [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{
			[4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
			[2]uint32{0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
			[2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		if got := Words(c.ctr, c.key); got != c.want {
			t.Errorf("Words(%x, %x) = %x, want %x", c.ctr, c.key, got, c.want)
		}
		// The same rounds, written with their keys.
		x, k := c.ctr, Rounds(c.key)
		for r := range rounds {
			p, q := uint64(m0)*uint64(x[0]), uint64(m1)*uint64(x[2])
			x = [4]uint32{uint32(q>>32) ^ x[1] ^ k[2*r], uint32(q), uint32(p>>32) ^ x[3] ^ k[2*r+1], uint32(p)}
		}
		if x != c.want {
			t.Errorf("with the keys of Rounds: %x, want %x", x, c.want)
		}
	}
	if got := Key(0x0123456789abcdef); got != [2]uint32{0x89abcdef, 0x01234567} {
		t.Errorf("key %x", got)
	}
}
