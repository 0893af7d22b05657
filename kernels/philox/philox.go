// Package philox generates the counter-based random numbers of every kernel: Philox4x32-10
// of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
// kernels/dev/philox.cuh is the device's implementation, asm/ of dropout and gradproj
// generate the vectorised ones.
package philox

import "math/bits"

const (
	rounds = 10
	m0, m1 = 0xD2511F53, 0xCD9E8D57
	w0, w1 = 0x9E3779B9, 0xBB67AE85 // added to the key from round to round
)

// Key is the key of a seed.
func Key(seed uint64) [2]uint32 { return [2]uint32{uint32(seed), uint32(seed >> 32)} }

// Words returns 128 random bits for a counter and a key.
func Words(ctr [4]uint32, key [2]uint32) [4]uint32 {
	c0, c1, c2, c3 := ctr[0], ctr[1], ctr[2], ctr[3]
	k0, k1 := key[0], key[1]
	for range rounds { // in registers: arrays would be indexed in memory
		h0, l0 := bits.Mul32(m0, c0)
		h1, l1 := bits.Mul32(m1, c2)
		c0, c1, c2, c3 = h1^c1^k0, l1, h0^c3^k1, l0
		k0 += w0
		k1 += w1
	}
	return [4]uint32{c0, c1, c2, c3}
}

// Keys are the keys of the rounds, two each, in the form that kernels take.
type Keys [2 * rounds]uint32

// Rounds returns the keys of the rounds.
func Rounds(key [2]uint32) (k Keys) {
	for r := range rounds {
		k[2*r], k[2*r+1] = key[0], key[1]
		key[0] += w0
		key[1] += w1
	}
	return k
}
