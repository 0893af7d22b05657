package gradproj

import "dataflex.dev/dataflex/kernels/scratch"

// The sparse Johnson-Lindenstrauss transform: a row of R has s entries, one in
// each of s blocks of columns, so a gradient entry is added to s sums.
//
// Floor, P rows, n samples: s·P adds into first- or second-level cache for eight
// samples abreast, P·s/4 Philox calls for the batch; independent of dim.

// bucketRange is the columns of entry e of a row: [e·dim/s, (e+1)·dim/s).
func bucketRange(e, dim, s int) (lo, hi int) { return e * dim / s, (e + 1) * dim / s }

// sumSJLT adds rows lo … hi; col is 0 and cols the whole width.
func sumSJLT(p *Projection, s *drawing, g gradients, lo, hi, _, cols int, acc []float32) {
	entries := p.opt.Entries
	s.plan = scratch.Sized(s.plan, tileRows*entries)
	for row := lo &^ (tileRows - 1); row < hi; row += tileRows {
		p.drawPlan(s, row)
		for group := range g.groups() {
			g.tile(group, row, &s.rows)
			scatter(s.rows[:], s.plan, entries, acc[group*cols*lanes:][:cols*lanes])
		}
	}
}

// drawPlan draws the entries of a tile's rows into s.plan [64][entries]: column·2, plus 1
// where the entry is negative.
func (p *Projection) drawPlan(s *drawing, row0 int) {
	entries := p.opt.Entries
	s.random = scratch.Sized(s.random, 4*tileRows)
	high := uint32(uint64(row0) >> 32)
	for call := 0; 4*call < entries; call++ {
		for r := 0; r < tileRows; r += 8 {
			x := (*[32]uint32)(s.random[4*r:])
			for l := range 8 {
				x[l], x[8+l], x[16+l], x[24+l] = uint32(row0+r+l), high, uint32(call), sjltStream
			}
		}
		philoxGroups(&p.keys, s.random)
		for k := 0; k < 4 && 4*call+k < entries; k++ {
			e := 4*call + k
			lo, hi := bucketRange(e, p.dim, entries)
			base, size := uint32(lo)<<1, uint64(hi-lo)
			for r := 0; r < tileRows; r += 8 {
				plan := s.plan[r*entries+e:]
				for l, w := range (*[8]uint32)(s.random[4*r+8*k:]) {
					plan[l*entries] = base + uint32(uint64(w>>1)*size>>31)<<1 | w&1
				}
			}
		}
	}
}

func scatterGeneric(rows [][lanes]float32, plan []uint32, entries int, acc []float32) {
	for r := range rows {
		for _, e := range plan[r*entries : (r+1)*entries] {
			sum := (*[lanes]float32)(acc[int(e>>1)*lanes:])
			for l, x := range rows[r] {
				if e&1 != 0 {
					x = -x
				}
				sum[l] += x
			}
		}
	}
}
