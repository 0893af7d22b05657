package dropout

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/philox"
)

func maskCPU(c *cpu.Device, m mask, rows, cols int, src, dst []float32) {
	c.Parallel(rows, func(r int) {
		m.row(uint32(r), src[r*cols:(r+1)*cols], dst[r*cols:(r+1)*cols])
	})
}

// rowFrom masks the entries of a row from column 8·first on.
func (m mask) rowFrom(first, row uint32, src, dst []float32) {
	var block [8]float32
	for c := 0; c < len(src); c += 8 {
		from, to := src[c:min(c+8, len(src))], dst[c:min(c+8, len(dst))]
		masked := block[:len(from)]
		random := m.key.words(first+uint32(c/8), row)
		for i, x := range from {
			// All ones if the entry is kept: no branch to mispredict.
			keep := uint32(int32(m.threshold-1-random[i/2]>>(16*(i%2))&0xffff) >> 31)
			masked[i] = math.Float32frombits(math.Float32bits(x*m.scale) & keep)
		}
		if m.add {
			for i, x := range masked {
				to[i] += x
			}
		} else {
			copy(to, masked)
		}
	}
}

func noiseCPU(c *cpu.Device, key Key, magnitude float32, rows, cols int, x []float32) {
	c.Parallel(rows, func(r int) {
		row := x[r*cols : (r+1)*cols]
		for i := range row {
			random := key.words(uint32(i/8), uint32(r))
			// Half a step from the ends: symmetric about 0.
			u := float32(2*(random[i%8/2]>>(16*(i%2))&0xffff)+1)*0x1p-16 - 1
			row[i] += magnitude * u
		}
	})
}

func (k Key) words(block, row uint32) [4]uint32 {
	return philox.Words([4]uint32{block, row, k.Stream, 0}, philox.Key(k.Seed))
}
