package rope_test

import (
	"math"
	"strings"
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/rope"
)

// golden is one transformers configuration and the batches it has seen.
type golden struct {
	Scaling struct {
		Type            string  `json:"rope_type"`
		Factor          float64 `json:"factor"`
		LowFreqFactor   float64 `json:"low_freq_factor"`
		HighFreqFactor  float64 `json:"high_freq_factor"`
		OriginalMax     int     `json:"original_max_position_embeddings"`
		AttentionFactor float64 `json:"attention_factor"`
		BetaFast        float64 `json:"beta_fast"`
		BetaSlow        float64 `json:"beta_slow"`
		MScale          float64 `json:"mscale"`
		MScaleAllDim    float64 `json:"mscale_all_dim"`
		KeepFactor      bool    `json:",omitempty"`
		Smooth          bool    `json:",omitempty"`

		ShortFactor []float64 `json:"short_factor"`
		LongFactor  []float64 `json:"long_factor"`

		Share float64 `json:"partial_rotary_factor"`
	}
	Theta  float64
	MaxPos int `json:"max_pos"`
	Dim    int
	Steps  []struct {
		SeqLen int `json:"seq_len"`
		Inv    []float32
		Scale  float32
	}
	Pos  []int32
	X, Y []float32
}

func TestGolden(t *testing.T) {
	var cases []golden
	optest.Golden(t, &cases)
	dev := optest.CPU(t, 2)
	for _, c := range cases {
		s := rope.Scaling(c.Scaling)
		table, err := rope.NewTable(c.Dim, c.Theta, s, c.MaxPos)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range c.Steps {
			table.Prepare(step.SeqLen)
			inv, scale := table.Frequencies()
			if float32(scale) != step.Scale {
				t.Errorf("%+v: attention scale %v, want %v", s, scale, step.Scale)
			}
			// torch's powf is good to 1 unit in the last place, not exact.
			for i, want := range step.Inv {
				if d := math.Abs(inv[i]/float64(want) - 1); d > 3e-7 {
					t.Errorf("%+v dim %d length %d: inv[%d] = %v, want %v", s, c.Dim, step.SeqLen, i, inv[i], want)
				}
			}
		}
		if c.X != nil {
			rope.Apply(dev, optest.Dev(c.X), c.Pos, table, 2, c.Dim, false)
			optest.Near(t, s.Type, c.X, c.Y, 1e-6)
		}
	}
}

func TestAgainstFloat64(t *testing.T) {
	const heads, headDim, dim = 3, 20, 16
	s := rope.Scaling{Type: "yarn", Factor: 4}
	table, err := rope.NewTable(dim, 10000, s, 32)
	if err != nil {
		t.Fatal(err)
	}
	inv, scale := table.Frequencies()
	pos := []int32{0, 1, 100, 5, 4095, 17}
	x := optest.Normal(optest.Rand(1), len(pos)*heads*headDim, 1)
	for _, threads := range optest.Threads {
		got := append([]float32(nil), x...)
		rope.Apply(optest.CPU(t, threads), optest.Dev(got), pos, table, heads, headDim, false)
		optest.Within(t, "turned", got,
			optest.RoPE(x, pos, optest.To[float32](inv), float32(scale), heads, headDim),
			optest.RoPE(optest.To[float64](x), pos, inv, scale, heads, headDim))
	}
}

// TestInverseIsTheGradient: <dy, turn(x)> = <turnBack(dy), x> for a linear map.
func TestInverseIsTheGradient(t *testing.T) {
	dev, r := optest.CPU(t, 2), optest.Rand(2)
	table, err := rope.NewTable(8, 10000, rope.Scaling{Type: "yarn", Factor: 2}, 32)
	if err != nil {
		t.Fatal(err)
	}
	pos := []int32{3, 0, 40, 7}
	x, dy := optest.Normal(r, 4*2*10, 1), optest.Normal(r, 4*2*10, 1)
	y, dx := append([]float32(nil), x...), append([]float32(nil), dy...)
	rope.Apply(dev, optest.Dev(y), pos, table, 2, 10, false)
	rope.Apply(dev, optest.Dev(dx), pos, table, 2, 10, true)
	left := optest.Inner(optest.To[float64](dy), optest.To[float64](y))
	right := optest.Inner(optest.To[float64](dx), optest.To[float64](x))
	if math.Abs(left-right) > 1e-5*math.Abs(left) {
		t.Errorf("<dy, R x> = %v, <Rᵀ dy, x> = %v", left, right)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		dim    int
		theta  float64
		s      rope.Scaling
		maxPos int
		want   string
	}{
		{0, 1e4, rope.Scaling{}, 64, "rotary dimension 0"},
		{7, 1e4, rope.Scaling{Type: "yarn", Factor: 2}, 64, "yarn: rotary dimension 7 is odd"},
		{8, 0, rope.Scaling{}, 64, "rope_theta 0"},
		{8, 1e4, rope.Scaling{Type: "linear"}, 64, "linear: factor 0"},
		{8, 1e4, rope.Scaling{Type: "su", Factor: 1}, 64, `type "su" is not one of`},
		{8, 1e4, rope.Scaling{Type: "llama3", Factor: 8}, 64, "llama3 needs"},
		{8, 1e4, rope.Scaling{Type: "dynamic", Factor: 2}, 0, "max_position_embeddings 0"},
		{2, 1e4, rope.Scaling{Type: "dynamic", Factor: 2}, 8, "rotary dimension 2"},
		{4, 1e4, rope.Scaling{Type: "longrope", ShortFactor: []float64{1}, LongFactor: []float64{1, 2}}, 8, "short_factor has 1 numbers and long_factor 2, want 2 each"},
	} {
		_, _, err := rope.Frequencies(c.dim, c.theta, c.s, c.maxPos, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.s, err, c.want)
		}
	}
}

// TestOddDimension: of 3 elements 4 are turned, by 1 and by 1000^(−2/3) = 1/100.
func TestOddDimension(t *testing.T) {
	table, err := rope.NewTable(3, 1000, rope.Scaling{}, 8)
	if err != nil {
		t.Fatal(err)
	}
	x := []float32{1, 1, 0, 0, 7}
	rope.Apply(optest.CPU(t, 1), optest.Dev(x), []int32{2}, table, 1, 5, false)
	for i, want := range []float64{math.Cos(2), math.Cos(0.02), math.Sin(2), math.Sin(0.02), 7} {
		if math.Abs(float64(x[i])-want) > 1e-6 {
			t.Errorf("element %d is %v, want %v", i, x[i], want)
		}
	}
}

// TestLongRope: frequencies and scale by the paper's formulas, and the list that each
// packed sequence's length picks.
func TestLongRope(t *testing.T) {
	s := rope.Scaling{Type: "longrope", OriginalMax: 16, ShortFactor: []float64{1, 1.5}, LongFactor: []float64{2, 4}}
	short, long := []float64{1, 0.1 / 1.5}, []float64{0.5, 0.025} // 1/(factor·100^(2i/4))
	for length, want := range map[int][]float64{3: short, 16: short, 17: long, 99: long} {
		inv, scale, err := rope.Frequencies(4, 100, s, 128, length)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if math.Abs(inv[i]/want[i]-1) > 1e-6 {
				t.Errorf("length %d: frequencies %v, want %v", length, inv, want)
			}
		}
		// sqrt(1 + ln 8 / ln 16) = sqrt(1.75)
		if math.Abs(scale-1.3228756555322954) > 1e-6 {
			t.Errorf("length %d: scale %v", length, scale)
		}
	}

	table, err := rope.NewTable(4, 100, s, 128)
	if err != nil {
		t.Fatal(err)
	}
	var pos, segments []int32
	var want []float32
	segments = append(segments, 0)
	for _, length := range []int{17, 3, 16, 99} { // one packed batch; {1, 0} is turned
		inv := short
		if length > 16 {
			inv = long
		}
		for p := range length {
			pos = append(pos, int32(p))
			for i := range 2 {
				want = append(want, float32(1.3228756555322954*math.Cos(float64(p)*inv[i])))
			}
			for i := range 2 {
				want = append(want, float32(1.3228756555322954*math.Sin(float64(p)*inv[i])))
			}
		}
		segments = append(segments, int32(len(pos)))
	}
	x := make([]float32, 4*len(pos))
	for i := range pos {
		x[4*i], x[4*i+1] = 1, 1
	}
	rope.Apply(optest.CPU(t, 2), optest.Dev(x), table.Rows(pos, segments), table, 1, 4, false)
	optest.Near(t, "longrope", x, want, 1e-5)
}

// TestInterleaved: neighbours are turned as halves are, elements permuted.
func TestInterleaved(t *testing.T) {
	const heads, headDim, dim = 2, 10, 6
	table, err := rope.NewTable(dim, 10000, rope.Scaling{}, 32)
	if err != nil {
		t.Fatal(err)
	}
	pos := []int32{3, 0, 9}
	x := optest.Normal(optest.Rand(3), len(pos)*heads*headDim, 1)
	apart := func(x []float32, back bool) []float32 {
		y := append([]float32(nil), x...)
		for h := 0; h < len(x); h += headDim {
			for i := range dim / 2 {
				for half := range 2 {
					near, far := h+2*i+half, h+i+half*dim/2
					if back {
						near, far = far, near
					}
					y[far] = x[near]
				}
			}
		}
		return y
	}
	for _, inverse := range []bool{false, true} {
		want := apart(x, false)
		dev := optest.CPU(t, 2)
		rope.Apply(dev, optest.Dev(want), pos, table, heads, headDim, inverse)
		got := append([]float32(nil), x...)
		table.Interleaved = true
		rope.Apply(dev, optest.Dev(got), pos, table, heads, headDim, inverse)
		table.Interleaved = false
		optest.Same(t, "interleaved", got, apart(want, true))
	}
}

// TestGrowth: 1 + beta·log(1 + floor(pos/every)) is 1 up to there and 1 + beta·log 2 after
// it; backwards turns by the opposite angle.
func TestGrowth(t *testing.T) {
	table, err := rope.NewTable(4, 10000, rope.Scaling{}, 64)
	if err != nil {
		t.Fatal(err)
	}
	table.Growth, table.Backwards = rope.Growth{Beta: 0.5, Every: 8}, true
	x := []float32{1, 2, 3, 4, 1, 2, 3, 4}
	rope.Apply(optest.CPU(t, 1), optest.Dev(x), []int32{7, 8}, table, 1, 4, false)
	for row, pos := range []float64{7, 8} {
		scale := []float64{1, 1 + 0.5*math.Log(2)}[row]
		for i, inv := range []float64{1, 0.01} {
			sin, cos := math.Sincos(-pos * inv)
			u, v := float64(1+i), float64(3+i)
			for j, want := range []float64{scale * (u*cos - v*sin), scale * (v*cos + u*sin)} {
				if got := float64(x[4*row+i+2*j]); math.Abs(got-want) > 1e-5 {
					t.Errorf("position %v, element %d: %v, want %v", pos, i+2*j, got, want)
				}
			}
		}
	}
}

// TestOffset: with an offset the elements of a head before it are not rotated.
func TestOffset(t *testing.T) {
	const heads, headDim, dim, before = 2, 9, 4, 3
	dev, pos := optest.CPU(t, 1), []int32{3, 0, 7}
	table, err := rope.NewTable(dim, 100, rope.Scaling{}, 16)
	if err != nil {
		t.Fatal(err)
	}
	x := optest.Normal(optest.Rand(9), len(pos)*heads*headDim, 1)
	got := append([]float32(nil), x...)
	table.Offset = before
	rope.Apply(dev, optest.Dev(got), pos, table, heads, headDim, false)
	table.Offset = 0
	for i, p := range pos {
		for h := range heads {
			at := (i*heads + h) * headDim
			one := append([]float32(nil), x[at+before:at+before+dim]...)
			rope.Apply(dev, optest.Dev(one), []int32{p}, table, 1, dim, false)
			copy(x[at+before:], one)
		}
	}
	optest.Same(t, "turned", got, x)
	table.Offset = 6
	optest.Panics(t, "rope: the table is wider than a head", func() { rope.Apply(dev, optest.Dev(got), pos, table, heads, headDim, false) })
}

// TestGrowthFromOne: llama4 counts positions from 1 and turns nothing: 1 + log(1 + floor((p+1)/4))/10.
func TestGrowthFromOne(t *testing.T) {
	table := rope.NewGrowth(2, rope.Growth{Beta: 0.1, Every: 4, First: 1})
	x := []float32{1, -2, 1, -2, 1, -2}
	rope.Apply(optest.CPU(t, 1), optest.Dev(x), []int32{2, 3, 10}, table, 1, 2, false)
	optest.Near(t, "grown", x, []float32{1, -2, 1.0693147, -2.1386294, 1.1098612, -2.2197225}, 1e-7)
}

// TestYarnRamp: gpt_oss' ramp begins and ends between planes: dimension 16, base 10000, 4096
// positions stretched 32 times, from transformers 5.24's _compute_yarn_parameters.
func TestYarnRamp(t *testing.T) {
	inv, scale, err := rope.Frequencies(16, 10000, rope.Scaling{Type: "yarn", Factor: 32, OriginalMax: 4096, KeepFactor: true, Smooth: true}, 131072, 0)
	if err != nil {
		t.Fatal(err)
	}
	optest.Near(t, "frequencies", optest.To[float32](inv), []float32{1, 0.316227764, 0.100000001, 0.0277359355, 0.00555275427, 0.000738276867, 3.12500015e-05, 9.88211832e-06}, 3e-7)
	if math.Abs(scale-1.3465735902799727) > 1e-12 {
		t.Errorf("scale %v", scale)
	}
}
