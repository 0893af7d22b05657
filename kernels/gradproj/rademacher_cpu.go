package gradproj

import "dataflex.dev/dataflex/kernels/scratch"

// Multiplying by a matrix of signs without multiplying: eight rows have 256
// signed sums; they are tabulated once, and each column of R then costs one
// look-up, named by its byte of random bits, instead of eight multiplications
// ("four Russians": Arlazarov, Dinic, Kronrod and Faradzhev 1970). The table
// holds eight samples abreast, so a look-up is one vector load. Four tables,
// 32 rows, share a pass over the sums.
//
// Floor, P rows, D columns, n samples: P·D/8 look-ups of 32 bytes for eight
// samples (P·D/64 a sample), P·D random bits for the whole batch. P = 4.9 M,
// D = 4096: 2.5e9 look-ups for eight samples; at 2 loads a cycle, 3.4 GHz, 2 cores: 0.23 s (0.029 s a sample).
// As a dense product it would be 2·P·D = 40 GFLOP a sample.
//
// Ladder (AMD EPYC Milan, AVX2; a shared machine, so only ratios inside a run
// mean much; BenchmarkRademacherParts, BenchmarkProjection):
//
//	dense   R expanded to floats, multiplied at AVX2 peak (2 cores x 100 GFLOP/s): 200 ms a sample, not below
//	v1      look-ups, two tables a pass over the sums: 0.70 ns a look-up, one thread
//	v2      four tables a pass: 0.32 ns in the same run (an earlier, busier one: 0.72 and 0.67);
//	        0.35 with packing and tables; signs 27 ns per 1024.
//	        A whole pair, forming and Adam included, on 2 threads: 119 ms a sample of
//	        4.9 M entries in batches of 8 (45 % look-ups, 29 % signs, 11 % forming),
//	        104 ms in batches of 32.
//
// On 2 cores of an Ice Lake Xeon (AVX-512, 2.8 GHz) with busy neighbours, 2026-11-30:
//
//	v3      signs of 32 columns at a time with AVX-512: 1024 of them in 16 to 31 ns, v2 39 to 42.
//	        A look-up takes 0.33 to 0.50 ns wherever its tables and sums lie: five instructions
//	        a cycle, which wider vectors do not change (two columns to a register need as many;
//	        permutations of sixteen sums in a register more of the two ports that they have).
//	        Of a LESS pass in batches of 8, processor time: look-ups 12.6 %, signs 4.6, tables 1.1.

// table holds Σ_b (bit b of i ? +row_b : -row_b) for each byte i.
type table [256][lanes]float32

func buildTableGeneric(rows *[8][lanes]float32, t *table) {
	var half [2][16][lanes]float32
	for h := range half {
		r := rows[4*h : 4*h+4]
		for l := range lanes {
			var low, high [4]float32
			signedSums(r[0][l], r[1][l], &low)
			signedSums(r[2][l], r[3][l], &high)
			for i := range 16 {
				half[h][i][l] = low[i&3] + high[i>>2]
			}
		}
	}
	for i := range t {
		for l := range lanes {
			t[i][l] = half[1][i>>4][l] + half[0][i&15][l]
		}
	}
}

func signedSums(a, b float32, s *[4]float32) {
	s[0], s[1], s[2], s[3] = 0-(a+b), a-b, b-a, a+b
}

// lookupGeneric adds (t0+t1)+(t2+t3) of each column's bytes to acc [cols][8].
func lookupGeneric(t *[4]table, bits []byte, stride, cols int, acc []float32) {
	for c := range cols {
		a, b := &t[0][bits[c]], &t[1][bits[stride+c]]
		x, y := &t[2][bits[2*stride+c]], &t[3][bits[3*stride+c]]
		sum := (*[lanes]float32)(acc[c*lanes:])
		for l := range sum {
			sum[l] += (a[l] + b[l]) + (x[l] + y[l])
		}
	}
}

// addSigned adds one tile of rows, whose signs are bits [8][cols], to the sums.
func (s *drawing) addSigned(g gradients, row0, cols int, bits []byte, acc []float32) {
	for group := range g.groups() {
		g.tile(group, row0, &s.rows)
		sums := acc[group*cols*lanes:][:cols*lanes]
		for h := range 2 {
			for t := range s.tables {
				buildTable((*[8][lanes]float32)(s.rows[(4*h+t)*8:]), &s.tables[t])
			}
			lookup(&s.tables, bits[4*h*cols:], cols, cols, sums)
		}
	}
}

func sumRademacher(p *Projection, s *drawing, g gradients, lo, hi, col, cols int, acc []float32) {
	s.bits = scratch.Sized(s.bits, 8*cols)
	for row := lo &^ (tileRows - 1); row < hi; row += tileRows {
		signTile(&p.keys, uint64(row/tileRows), col/16, cols/16, s.bits, cols)
		s.addSigned(g, row, cols, s.bits, acc)
	}
}

// sourceCols is the width of TRAK's blocks.
const sourceCols = 128

// sumTRAK takes the signs from the source, row by row, and regroups them.
func sumTRAK(p *Projection, s *drawing, g gradients, lo, hi, col, cols int, acc []float32) {
	s.bits = scratch.Sized(s.bits, 8*cols)
	s.words = scratch.Sized(s.words, 2*tileRows)
	for row := lo &^ (tileRows - 1); row < hi; row += tileRows {
		from, to := max(row, lo), min(row+tileRows, hi)
		for c := 0; c < cols; c += sourceCols {
			clear(s.words)
			p.opt.Source.Signs(s.words[2*(from-row):2*(to-row)], (col+c)/sourceCols, from, to-from)
			for g := range 8 {
				regroup(s.words[16*g:16*g+16], s.bits[g*cols+c:][:sourceCols])
			}
		}
		s.addSigned(g, row, cols, s.bits, acc)
	}
}

// regroup turns eight rows of 128 bits into 128 columns of eight.
func regroup(rows []uint64, dst []byte) {
	for b := range 16 {
		var x uint64
		for r := range 8 {
			x |= rows[2*r+b/8] >> (8 * (b % 8)) & 0xff << (8 * r)
		}
		x = transposeBits(x)
		for c := range 8 {
			dst[8*b+c] = byte(x >> (8 * c))
		}
	}
}

// transposeBits transposes an 8x8 bit matrix (Hacker's Delight, 7-3).
func transposeBits(x uint64) uint64 {
	for _, s := range [3]struct {
		mask  uint64
		shift int
	}{{0x00AA00AA00AA00AA, 7}, {0x0000CCCC0000CCCC, 14}, {0x00000000F0F0F0F0, 28}} {
		t := (x ^ x>>s.shift) & s.mask
		x ^= t ^ t<<s.shift
	}
	return x
}
