package rope

import (
	"fmt"
	"math"
)

// Scaling is rope_scaling of a Hugging Face config.json. Zero means "not given".
type Scaling struct {
	Type   string  // "" or "default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional"
	Factor float64 // all but default; longrope: only without OriginalMax, or with KeepFactor

	LowFreqFactor, HighFreqFactor float64 // llama3
	OriginalMax                   int     // original_max_position_embeddings: llama3, yarn, longrope

	AttentionFactor      float64 // yarn, longrope
	BetaFast, BetaSlow   float64 // yarn: 32 and 1 when not given
	MScale, MScaleAllDim float64 // yarn
	KeepFactor           bool    `json:",omitempty"` // yarn, longrope: Factor counts beside OriginalMax, too, as since transformers 4.56; before, maxPos/OriginalMax did

	Smooth bool `json:",omitempty"` // yarn: the ramp begins and ends between planes; transformers' truncate: false

	ShortFactor, LongFactor []float64 // longrope: dim/2 each

	Share float64 `json:",omitempty"` // proportional: the share of the planes that is rotated; 0: all
}

// Frequencies returns the inverse frequency of each of the dim/2 planes, rounded up,
// float32 values as transformers 4.52 computes them, and what cos and sin are multiplied
// by. maxPos is max_position_embeddings; seqLen is max(position)+1 over the batch
// (longrope: over the sequence) and matters to the types dynamic and longrope alone.
func Frequencies(dim int, theta float64, s Scaling, maxPos, seqLen int) (inv []float64, attentionScale float64, err error) {
	if dim < 1 {
		return nil, 0, fmt.Errorf("rope: rotary dimension %d is not positive", dim)
	}
	if dim%2 != 0 && (s.Type == "yarn" || s.Type == "longrope") {
		return nil, 0, fmt.Errorf("rope: rope_scaling %s: rotary dimension %d is odd", s.Type, dim)
	}
	if theta <= 0 {
		return nil, 0, fmt.Errorf("rope: rope_theta %g is not positive", theta)
	}
	if s.Type != "" && s.Type != "default" && s.Type != "longrope" && s.Factor <= 0 {
		return nil, 0, fmt.Errorf("rope: rope_scaling %s: factor %g is not positive", s.Type, s.Factor)
	}
	switch s.Type {
	case "", "default":
		return plain(dim, float32(theta)), 1, nil
	case "linear":
		inv = plain(dim, float32(theta))
		for i, f := range inv {
			inv[i] = float64(float32(f) / float32(s.Factor))
		}
		return inv, 1, nil
	case "dynamic":
		return dynamic(dim, theta, s, maxPos, seqLen)
	case "llama3":
		return llama3(dim, theta, s)
	case "yarn":
		return yarn(dim, theta, s, maxPos)
	case "longrope":
		return longrope(dim, theta, s, maxPos, seqLen)
	case "proportional":
		return proportional(dim, theta, s), 1, nil
	}
	return nil, 0, fmt.Errorf("rope: rope_scaling type %q is not one of default, linear, dynamic, llama3, yarn, longrope, proportional", s.Type)
}

// plain is 1/base^(2i/dim), each step rounded to float32.
func plain(dim int, base float32) []float64 {
	inv := make([]float64, (dim+1)/2)
	for i := range inv {
		inv[i] = float64(1 / power(base, i, dim))
	}
	return inv
}

// proportional rotates the first planes of a head only, which are those of the whole head
// (gemma4: transformers 5, modeling_rope_utils.py).
func proportional(dim int, theta float64, s Scaling) []float64 {
	inv, turned := plain(dim, float32(theta)), dim/2
	if s.Share != 0 {
		turned = int(math.Floor(s.Share * float64(dim) / 2))
	}
	for i, f := range inv {
		inv[i] = float64(float32(f) / float32(s.Factor))
		if i >= turned {
			inv[i] = 0
		}
	}
	return inv
}

// power is base^(2i/dim) with a float32 exponent and a float32 result.
func power(base float32, i, dim int) float32 {
	return float32(math.Pow(float64(base), float64(float32(2*i)/float32(dim))))
}

// dynamic is NTK scaling: past maxPos the base grows with the sequence, in
// float32 because transformers' sequence length is a tensor there.
func dynamic(dim int, theta float64, s Scaling, maxPos, seqLen int) ([]float64, float64, error) {
	if maxPos < 1 {
		return nil, 0, fmt.Errorf("rope: rope_scaling dynamic: max_position_embeddings %d is not positive", maxPos)
	}
	if dim < 4 {
		return nil, 0, fmt.Errorf("rope: rope_scaling dynamic: rotary dimension %d is below 4", dim)
	}
	if seqLen <= maxPos {
		return plain(dim, float32(theta)), 1, nil
	}
	ratio := float32(s.Factor)*float32(seqLen)/float32(maxPos) - float32(s.Factor-1)
	grown := float32(math.Pow(float64(ratio), float64(float32(float64(dim)/float64(dim-2)))))
	return plain(dim, float32(theta)*grown), 1, nil
}

// llama3 divides long wavelengths by the factor, keeps short ones, and blends in
// between.
func llama3(dim int, theta float64, s Scaling) ([]float64, float64, error) {
	if s.OriginalMax < 1 || s.LowFreqFactor <= 0 || s.HighFreqFactor < s.LowFreqFactor {
		return nil, 0, fmt.Errorf("rope: rope_scaling llama3 needs original_max_position_embeddings > 0 and 0 < low_freq_factor <= high_freq_factor, got %d, %g, %g",
			s.OriginalMax, s.LowFreqFactor, s.HighFreqFactor)
	}
	old, low, high := float64(s.OriginalMax), s.LowFreqFactor, s.HighFreqFactor
	factor := float32(s.Factor)
	inv := plain(dim, float32(theta))
	for i, f := range inv {
		freq := float32(f)
		wave := float32(2*math.Pi) / freq
		switch {
		case wave > float32(old/low):
			freq /= factor
		case high > low && wave >= float32(old/high):
			smooth := (float32(old)/wave - float32(low)) / float32(high-low)
			freq = (1-smooth)*freq/factor + smooth*freq
		}
		inv[i] = float64(freq)
	}
	return inv, 1, nil
}

// yarn blends the interpolated and the original frequencies by a ramp over the
// planes (arXiv:2309.00071) and scales attention by 0.1·ln(factor)+1.
func yarn(dim int, theta float64, s Scaling, maxPos int) ([]float64, float64, error) {
	if maxPos < 1 {
		return nil, 0, fmt.Errorf("rope: rope_scaling yarn: max_position_embeddings %d is not positive", maxPos)
	}
	factor, old := s.Factor, maxPos
	if s.OriginalMax > 0 {
		old = s.OriginalMax
		if !s.KeepFactor {
			factor = float64(maxPos) / float64(old)
		}
	}
	scale := s.AttentionFactor
	if scale == 0 {
		scale = mscale(factor, 1)
		if s.MScale != 0 && s.MScaleAllDim != 0 {
			scale = mscale(factor, s.MScale) / mscale(factor, s.MScaleAllDim)
		}
	}
	low, high := correction(dim, theta, s, old)
	inv := make([]float64, dim/2)
	for i := range inv {
		p := power(float32(theta), i, dim)
		extra, inter := 1/p, 1/(float32(factor)*p)
		ramp := (float32(i) - float32(low)) / float32(high-low)
		keep := 1 - min(max(ramp, 0), 1)
		inv[i] = float64(inter*(1-keep) + extra*keep)
	}
	return inv, scale, nil
}

func mscale(factor, m float64) float64 {
	if factor <= 1 {
		return 1
	}
	return 0.1*m*math.Log(factor) + 1
}

// correction is the range of planes over which yarn's ramp falls.
func correction(dim int, theta float64, s Scaling, old int) (low, high float64) {
	fast, slow := s.BetaFast, s.BetaSlow
	if fast == 0 {
		fast = 32
	}
	if slow == 0 {
		slow = 1
	}
	plane := func(rotations float64) float64 {
		return float64(dim) * math.Log(float64(old)/(rotations*2*math.Pi)) / (2 * math.Log(theta))
	}
	low, high = plane(fast), plane(slow)
	if !s.Smooth {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(dim-1))
	if low == high {
		high += 0.001 // a ramp of no width
	}
	return low, high
}

// longrope divides every frequency by a searched factor, one list up to the length
// of pre-training and one beyond it (arXiv:2402.13753). Cosines and sines are scaled
// for the longest length whichever list is in use.
func longrope(dim int, theta float64, s Scaling, maxPos, seqLen int) ([]float64, float64, error) {
	if len(s.ShortFactor) != dim/2 || len(s.LongFactor) != dim/2 {
		return nil, 0, fmt.Errorf("rope: rope_scaling longrope: short_factor has %d numbers and long_factor %d, want %d each",
			len(s.ShortFactor), len(s.LongFactor), dim/2)
	}
	old, factor := maxPos, s.Factor
	if s.OriginalMax > 0 {
		if old = s.OriginalMax; !s.KeepFactor {
			factor = float64(maxPos) / float64(old)
		}
	}
	if old < 2 {
		return nil, 0, fmt.Errorf("rope: rope_scaling longrope: original_max_position_embeddings %d is below 2", old)
	}
	scale := s.AttentionFactor
	if scale == 0 {
		scale = 1
		if factor > 1 {
			scale = math.Sqrt(1 + math.Log(factor)/math.Log(float64(old)))
		}
	}
	factors := s.ShortFactor
	if seqLen > old {
		factors = s.LongFactor
	}
	inv := make([]float64, dim/2)
	for i, f := range factors {
		inv[i] = float64(1 / (float32(f) * power(float32(theta), i, dim)))
	}
	return inv, scale, nil
}
