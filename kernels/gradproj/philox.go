package gradproj

import "dataflex.dev/dataflex/kernels/philox"

// Counter word 3: which kind of matrix draws.
const (
	rademacherStream = iota
	gaussianStream
	sjltStream
)

// roundKeys are the keys of the ten rounds, each in every lane of a vector.
type roundKeys [10][2][8]uint32

func newRoundKeys(seed uint64) (k roundKeys) {
	for i, word := range philox.Rounds(philox.Key(seed)) {
		for l := range k[i/2][i%2] {
			k[i/2][i%2][l] = word
		}
	}
	return k
}

func (k *roundKeys) key() [2]uint32 { return [2]uint32{k[0][0][0], k[0][1][0]} }

// device is the keys as the kernels take them.
func (k *roundKeys) device() philox.Keys { return philox.Rounds(k.key()) }

// philoxGroupsGeneric replaces groups x [·][4][8] of eight counters by their words.
func philoxGroupsGeneric(k *roundKeys, x []uint32) {
	key := k.key()
	for ; len(x) > 0; x = x[32:] {
		for l := range 8 {
			x[l], x[8+l], x[16+l], x[24+l] = words(philox.Words([4]uint32{x[l], x[8+l], x[16+l], x[24+l]}, key))
		}
	}
}

func words(w [4]uint32) (a, b, c, d uint32) { return w[0], w[1], w[2], w[3] }

// signTileGeneric writes the signs of 64 rows (number tile) and 16*blocks
// columns from column 16*block0 on, eight rows to a byte: byte [g][c] of
// dst [8][stride] holds rows 8g … 8g+7 of column c, the first in bit 0.
func signTileGeneric(k *roundKeys, tile uint64, block0, blocks int, dst []byte, stride int) {
	key := k.key()
	for b := range blocks {
		for r := range 8 {
			w := philox.Words([4]uint32{uint32(tile), uint32(tile >> 32), uint32(8*(block0+b) + r), rademacherStream}, key)
			for j := range 16 {
				dst[j/2*stride+16*b+r+8*(j%2)] = byte(w[j/4] >> (8 * (j % 4)))
			}
		}
	}
}
