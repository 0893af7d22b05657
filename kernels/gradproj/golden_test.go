package gradproj

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// golden reads the tensors of a safetensors file (F32, F16) as float64. The file
// in testdata is samples 0 and 5 of persample/tiny-llama, cut by testdata/cut.py;
// the whole recordings are looked at too where they are.
func golden(t *testing.T, path string) map[string][][]float64 {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Skip(err)
	}
	n := binary.LittleEndian.Uint64(raw)
	var head map[string]struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(raw[8:8+n], &head); err != nil {
		t.Fatal(err)
	}
	out := map[string][][]float64{}
	for name, h := range head {
		b := raw[8+int(n):][h.Offsets[0]:h.Offsets[1]]
		size := map[string]int{"F32": 4, "F16": 2}[h.DType]
		if size == 0 {
			continue
		}
		width := h.Shape[len(h.Shape)-1]
		x := make([]float64, len(b)/size)
		for i := range x {
			if size == 4 {
				x[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
			} else {
				x[i] = float16(binary.LittleEndian.Uint16(b[2*i:]))
			}
		}
		for i := 0; i < len(x); i += width {
			out[name] = append(out[name], x[i:i+width])
		}
	}
	return out
}

func float16(h uint16) float64 {
	sign, e, m := 1-2*float64(h>>15), int(h>>10&31), float64(h&1023)
	if e == 0 {
		return sign * math.Ldexp(m, -24)
	}
	return sign * math.Ldexp(1024+m, e-25)
}

func single32(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

var goldenFiles = []string{
	"testdata/persample.safetensors",
	"../../../shared/golden/persample/tiny-llama/persample.safetensors",
	"../../../shared/golden/persample/tiny-qwen2/persample.safetensors",
}

// eachGolden runs a test on each recording.
func eachGolden(t *testing.T, f func(t *testing.T, g map[string][][]float64)) {
	for _, path := range goldenFiles {
		t.Run(path, func(t *testing.T) { f(t, golden(t, path)) })
	}
}

// DataFlex's Adam direction (epsilon outside the root) and LESS's own (inside),
// as PyTorch computed them in float32.
func TestGoldenAdamDirections(t *testing.T) {
	eachGolden(t, func(t *testing.T, g map[string][][]float64) {
		m, v := single32(g["adam_m"][0]), single32(g["adam_v"][0])
		for name, inside := range map[string]bool{"adam_direction_upstream": false, "adam_direction_official": true} {
			dev := cpu.New(1)
			defer dev.Close()
			for i, want := range g[name] {
				a := &Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, EpsInside: inside, M: driver.FromHost(m), V: driver.FromHost(v)}
				p := mustNew(t, None, 0, len(want), Options{})
				out, norm := make([]float32, len(want)), 0.0
				p.Dense(dev, driver.FromHost(single32(g["gradient"][i])[:len(want)]), 0, a, driver.FromHost(out), &norm)
				closeTo(t, name, out, want, 2e-7)
			}
		}
	})
}

// twister is TRAK's CPU matrix: block b of 128 columns, row by row, from MT19937
// seeded with seed + 1000 b; bit 20 of an entry's first word of two is 0 for +1.
type twister struct {
	seed  uint32
	block map[int][]uint64
}

func (s *twister) draw(block, rows int) {
	var mt [624]uint32
	mt[0] = s.seed + 1000*uint32(block)
	for i := 1; i < 624; i++ {
		mt[i] = 1812433253*(mt[i-1]^mt[i-1]>>30) + uint32(i)
	}
	at := 624
	next := func() uint32 {
		if at == 624 {
			for i := range mt {
				y := mt[i]&0x80000000 | mt[(i+1)%624]&0x7fffffff
				mt[i] = mt[(i+397)%624] ^ y>>1 ^ -(y&1)&0x9908b0df
			}
			at = 0
		}
		y := mt[at]
		at++
		y ^= y >> 11
		y ^= y << 7 & 0x9d2c5680
		y ^= y << 15 & 0xefc60000
		return y ^ y>>18
	}
	x := make([]uint64, 2*rows)
	for i := range 128 * rows {
		if next()>>20&1 == 0 {
			x[i/64] |= 1 << (i % 64)
		}
		next()
	}
	s.block[block] = x
}

func (s *twister) Signs(dst []uint64, block, row0, nrows int) {
	copy(dst, s.block[block][2*row0:2*(row0+nrows)])
}

// TRAK's BasicProjector on a CPU: float32 to 1e-4; float16 within its own
// rounding, which is upstream's and not ours.
func TestGoldenTRAK(t *testing.T) {
	source := &twister{seed: 123, block: map[int][]uint64{}}
	for b := range 4 {
		source.draw(b, 20352)
	}
	eachGolden(t, func(t *testing.T, g map[string][][]float64) {
		for name, b := range map[string]int{"projection_block0_rows0_63": 0, "projection_block3_rows0_63": 3} {
			for i, row := range g[name] {
				for j, want := range row {
					if got := 2*float64(source.block[b][2*i+j/64]>>(j%64)&1) - 1; got != want {
						t.Fatalf("R of block %d, row %d, column %d is %v", b, i, j, want)
					}
				}
			}
		}
		dev := cpu.New(2)
		defer dev.Close()
		for i, row := range g["gradient"] {
			block := driver.FromHost(single32(row))
			for _, half := range []bool{false, true} {
				p := mustNew(t, TRAK, 512, len(row), Options{Source: source, Float16: half})
				out, norm := make([]float32, 512), 0.0
				p.Dense(dev, block.Sub(0, 4000), 0, nil, driver.FromHost(out), &norm)
				p.Dense(dev, block.Sub(4000, len(row)), 4000, nil, driver.FromHost(out), &norm)
				if half {
					closeTo(t, "projected_f16", out, g["projected_f16"][i], 1e-3)
				} else {
					closeTo(t, "projected_f32", out, g["projected_f32"][i], 1e-5)
				}
			}
		}
	})
}
