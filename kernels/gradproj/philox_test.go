package gradproj

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/kernels/philox"
	"dataflex.dev/dataflex/kernels/simd"
)

// eachLevel runs a test with every instruction set this machine has.
func eachLevel(t *testing.T, f func(t *testing.T)) {
	best := simd.Level()
	defer simd.Force(best)
	for _, level := range simd.Levels() {
		simd.Force(level)
		t.Run(level, f)
	}
}

// The known answers are Random123's (kat_vectors, philox4x32 10).
func TestPhiloxKnownAnswers(t *testing.T) {
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
		eachLevel(t, func(t *testing.T) {
			keys := newRoundKeys(uint64(c.key[1])<<32 | uint64(c.key[0]))
			x := make([]uint32, 64)
			for i := range x {
				x[i] = c.ctr[i/8%4] + uint32(i%8) // lane 0 is the known counter
			}
			philoxGroups(&keys, x)
			for l := range 8 {
				ctr := c.ctr
				for k := range ctr {
					ctr[k] += uint32(l)
				}
				want := philox.Words(ctr, c.key)
				for k := range want {
					if x[8*k+l] != want[k] || x[32+8*k+l] != want[k] {
						t.Fatalf("lane %d word %d: %x and %x, want %x", l, k, x[8*k+l], x[32+8*k+l], want[k])
					}
				}
			}
		})
	}
}

// entry is R[row][col] in float64, written down from the package comment.
func entry(kind Kind, seed uint64, dim, s, row, col int) float64 {
	key := [2]uint32{uint32(seed), uint32(seed >> 32)}
	split := func(x uint64) (uint32, uint32) { return uint32(x), uint32(x >> 32) }
	scale := 1 / math.Sqrt(float64(dim))
	switch kind {
	case Rademacher:
		lo, hi := split(uint64(row) / 64)
		w := philox.Words([4]uint32{lo, hi, uint32(8*(col/16) + col%8), 0}, key)
		j := 2*(row%64/8) + col%16/8
		if w[j/4]>>(8*(j%4)+row%8)&1 == 0 {
			return -scale
		}
		return scale
	case Gaussian:
		lo, hi := split(uint64(row))
		w := philox.Words([4]uint32{lo, hi, uint32(8*(col/32) + col%8), 1}, key)
		k := col % 32 / 8
		u := (float64(w[k&^1]>>9) + 0.5) / (1 << 23)
		theta := (float64(w[k|1]<<2>>9)-4194303.5)*math.Pi/2/(1<<23) + float64(w[k|1]>>30)*math.Pi/2
		z := math.Sqrt(-2 * math.Log(u))
		if k&1 == 0 {
			return scale * z * math.Cos(theta)
		}
		return scale * z * math.Sin(theta)
	case SJLT:
		lo, hi := split(uint64(row))
		for e := range s {
			from, to := e*dim/s, (e+1)*dim/s
			if col < from || col >= to {
				continue
			}
			w := philox.Words([4]uint32{lo, hi, uint32(e / 4), 2}, key)[e%4]
			if from+int(uint64(w>>1)*uint64(to-from)>>31) != col {
				return 0
			}
			return (1 - 2*float64(w&1)) / math.Sqrt(float64(s))
		}
	}
	return 0
}

// Mean, variance and fourth moment of R's entries, and of products of
// neighbours in both directions, within 5 standard deviations.
func TestEntriesAreRandom(t *testing.T) {
	const rows, dim = 256, 64
	for _, kind := range []Kind{Rademacher, Gaussian, SJLT} {
		var r [rows][dim]float64
		for i := range r {
			for j := range r[i] {
				r[i][j] = entry(kind, 77, dim, 4, i, j) * 8 // √dim
			}
		}
		var sum, square, fourth, down, right float64
		for i := range r {
			for j, x := range r[i] {
				sum += x
				square += x * x
				fourth += x * x * x * x
				down += x * r[(i+1)%rows][j]
				right += x * r[i][(j+1)%dim]
			}
		}
		const n = rows * dim
		m4 := map[Kind]float64{Rademacher: 1, Gaussian: 3, SJLT: dim / 4}[kind]
		sd := math.Sqrt(1.0 / n)
		if math.Abs(sum/n) > 5*sd || math.Abs(down/n) > 5*sd || math.Abs(right/n) > 5*sd {
			t.Errorf("%s: mean %.4f, neighbours' products %.4f, %.4f; sd %.4f", kind, sum/n, down/n, right/n, sd)
		}
		if math.Abs(square/n-1) > 5*sd*math.Sqrt(m4-1)+1e-9 {
			t.Errorf("%s: variance %.4f", kind, square/n)
		}
		if math.Abs(fourth/n/m4-1) > 0.15 {
			t.Errorf("%s: fourth moment %.3f, want %.3f", kind, fourth/n, m4)
		}
	}
}

// Every twin draws the same tiles, bit for bit, also beyond row 2^32.
func TestTilesMatchDocumentedLayout(t *testing.T) {
	keys := newRoundKeys(1<<40 + 5)
	eachLevel(t, func(t *testing.T) {
		const row0, block0, blocks = 3 << 36, 2, 3
		bits := make([]byte, 8*16*blocks)
		signTile(&keys, row0/64, block0, blocks, bits, 16*blocks)
		for r := range 64 {
			for c := range 16 * blocks {
				want := entry(Rademacher, 1<<40+5, 1, 0, row0+r, 16*block0+c) > 0
				if got := bits[r/8*16*blocks+c]>>(r%8)&1 == 1; got != want {
					t.Fatalf("sign of row %d, column %d", r, c)
				}
			}
		}
	})
}

func TestNormalsAgainstFloat64(t *testing.T) {
	p, err := New(Gaussian, 96, 9, 1<<40, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var first []float32
	eachLevel(t, func(t *testing.T) {
		r := make([]float32, 64*96)
		p.drawNormals(r, 5<<34, 0, 96)
		for i, x := range r {
			want := entry(Gaussian, 9, 96, 0, 5<<34+i/96, i%96)
			if math.Abs(float64(x)-want) > 4e-7 {
				t.Fatalf("entry %d: %v, want %v", i, x, want)
			}
		}
		if first == nil {
			first = r
		}
		for i := range r {
			if r[i] != first[i] {
				t.Fatalf("entry %d: %v differs from the portable %v", i, r[i], first[i])
			}
		}
	})
}
