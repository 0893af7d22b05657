package dropout

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/philox"
	"dataflex.dev/dataflex/kernels/simd"
)

// TestMask checks the masks: their share of zeros, the scale of the rest, that they depend
// on seed and stream, and not on the shape of the batch.
func TestMask(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	const rows, cols, p = 100, 203, 0.1
	const kept = float32(65536. / (65536 - 6554)) // 6554 = p·2^16, rounded
	ones := make([]float32, rows*cols)
	for i := range ones {
		ones[i] = 1
	}
	mask := func(key Key, rows int) []float32 {
		out := make([]float32, rows*cols)
		Mask(dev, key, p, rows, cols, driver.FromHost(ones[:rows*cols]), driver.FromHost(out), false)
		return out
	}
	a := mask(Key{5, 0}, rows)
	zeros := 0
	for _, x := range a {
		switch x {
		case 0:
			zeros++
		case kept:
		default:
			t.Fatalf("entry %g", x)
		}
	}
	w := philox.Words([4]uint32{203 / 8, 99, 0, 0}, [2]uint32{5, 0})
	for c, random := range []uint32{w[0] & 0xffff, w[0] >> 16, w[1] & 0xffff} {
		if got := a[99*cols+200+c]; (got != 0) != (random >= 6554) {
			t.Errorf("entry (99, %d) is %g, its bits are %d", 200+c, got, random)
		}
	}
	// Binomial: 5 standard deviations of the share of 20300 draws are 0.0105.
	if share := float64(zeros) / float64(len(a)); math.Abs(share-p) > 0.0105 {
		t.Errorf("%g of the entries are dropped, want %g", share, p)
	}
	agree := func(b []float32) (n int) {
		for i, x := range b {
			if x == a[i] {
				n++
			}
		}
		return n
	}
	if part := mask(Key{5, 0}, 10); agree(part) != len(part) {
		t.Error("a row's mask depends on the number of rows")
	}
	for _, key := range []Key{{6, 0}, {5, 1}, {5 | 1<<40, 0}} {
		// Independent masks agree in 0.82 of the entries.
		if share := float64(agree(mask(key, rows))) / float64(len(a)); math.Abs(share-0.82) > 0.02 {
			t.Errorf("masks of %v and {5 0} agree in %g of the entries", key, share)
		}
	}
}

// TestVector: the vectorised loop has the same bits as the portable one, in place and added.
func TestVector(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	defer simd.Force(simd.Level())
	for _, cols := range []int{1, 31, 32, 203} {
		for _, p := range []float32{0, 1e-6, 0.1, 0.5, 0.99999} {
			for _, add := range []bool{false, true} {
				var want []float32
				for _, level := range simd.Levels() {
					simd.Force(level)
					const rows = 5
					src, dst := make([]float32, rows*cols), make([]float32, rows*cols)
					for i := range src {
						src[i], dst[i] = float32(i)-300, float32(i%7)
					}
					Mask(dev, Key{5 | 7<<40, 9}, p, rows, cols, driver.FromHost(src), driver.FromHost(dst), add)
					if want == nil {
						want = dst
					}
					for i := range want {
						if math.Float32bits(dst[i]) != math.Float32bits(want[i]) {
							t.Fatalf("%s, %d columns, p %g, add %v: entry %d is %v, want %v", level, cols, p, add, i, dst[i], want[i])
						}
					}
				}
			}
		}
	}
}

// TestNoise checks mean, variance and range of the noise, and that it is added.
func TestNoise(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	const rows, cols, magnitude = 100, 203, 0.5
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = 3
	}
	Noise(dev, Key{5, 9}, magnitude, rows, cols, driver.FromHost(x))
	var sum, squares float64
	for _, v := range x {
		u := float64(v) - 3
		if math.Abs(u) > magnitude {
			t.Fatalf("%g is outside ±%g", u, magnitude)
		}
		sum, squares = sum+u, squares+u*u
	}
	n := float64(len(x))
	// Five standard deviations of the mean, and 3 % of the variance m²/3.
	if mean := sum / n; math.Abs(mean) > 5*magnitude/math.Sqrt(3*n) {
		t.Errorf("mean %g", mean)
	}
	if v := squares / n / (magnitude * magnitude / 3); math.Abs(v-1) > 0.03 {
		t.Errorf("variance is %g of a uniform distribution's", v)
	}
}

// BenchmarkMask masks the input of SmolLM2-135M's down_proj on one thread.
func BenchmarkMask(b *testing.B) {
	dev := cpu.New(1)
	defer dev.Close()
	const rows, cols = 512, 1536
	x, y := driver.FromHost(make([]float32, rows*cols)), driver.FromHost(make([]float32, rows*cols))
	b.SetBytes(4 * rows * cols)
	for b.Loop() {
		Mask(dev, Key{1, 2}, 0.1, rows, cols, x, y, false)
	}
}
