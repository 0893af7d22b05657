package checkpoint

import (
	"cmp"
	"math"
)

// RopeScaling is config.json's rope_scaling in its old or new spelling ("type" and "rope_type";
// if both are there the old one counts, as in transformers). Zero means that the key is absent.
type RopeScaling struct {
	Type                          string // default, linear, dynamic, yarn, llama3, longrope, …
	Factor                        float64
	OriginalMaxPositionEmbeddings int
	LowFreqFactor, HighFreqFactor float64 // llama3
	AttentionFactor               float64 // yarn, longrope
	BetaFast, BetaSlow            float64 // yarn
	MScale, MScaleAllDim          float64 // yarn
	KeepFactor                    bool    // set for rope_parameters, whose factor may take precedence: see CountsFactor
	ShortFactor, LongFactor       []float64
	QueryBeta                     float64 // ministral3's llama_4_scaling_beta
	Smooth                        bool    // yarn: truncate is false, so that the ramp's ends are not rounded to whole rotation pairs
	Share                         float64 // proportional: the share of a head's rotation pairs that are rotated
}

func (c *ModelConfig) readRope(f *fields, family familyDefaults) {
	c.RopeTheta = f.float("rope_theta", cmp.Or(family.theta, 10000))
	c.RopeLocalBase = f.float("rope_local_base_freq", family.localTheta)
	s := f.object("rope_scaling")
	if p := f.object("rope_parameters"); p != nil { // transformers 5
		s = c.ropeParameters(f, p)
	}
	if s == nil && family.rope != nil {
		s = &fields{path: f.path, raw: family.rope}
	}
	share := cmp.Or(family.rotary, 1)
	if f.has("rotary_dim") {
		share = float64(f.int("rotary_dim", 0)) / float64(c.HeadDim)
	}
	share = f.float("partial_rotary_factor", share)
	if s != nil {
		share = s.float("partial_rotary_factor", share)
	}
	if share <= 0 || share > 1 {
		f.fail("partial_rotary_factor is %v, want more than 0 and at most 1", share)
	}
	c.RotaryDim = int(float64(c.headDim(false)) * share)
	if c.Latent != nil {
		c.RotaryDim = c.Latent.RotaryDim
	}
	c.ownHeads(s)
	if c.RopeTheta <= 0 {
		f.fail("rope_theta is %v, want more than 0", c.RopeTheta)
	}
	if s == nil {
		return
	}
	r := &RopeScaling{
		Type:                          s.string("type", s.string("rope_type", "")),
		Factor:                        s.float("factor", 0),
		OriginalMaxPositionEmbeddings: s.int("original_max_position_embeddings", 0),
		LowFreqFactor:                 s.float("low_freq_factor", 0),
		HighFreqFactor:                s.float("high_freq_factor", 0),
		AttentionFactor:               s.float("attention_factor", 0),
		BetaFast:                      s.float("beta_fast", 0),
		BetaSlow:                      s.float("beta_slow", 0),
		MScale:                        s.float("mscale", 0),
		MScaleAllDim:                  s.float("mscale_all_dim", 0),
		ShortFactor:                   s.floats("short_factor"),
		LongFactor:                    s.floats("long_factor"),
		KeepFactor:                    f.has("rope_parameters") || family.modern,
		QueryBeta:                     s.float("llama_4_scaling_beta", 0),
		Smooth:                        !s.bool("truncate", true),
	}
	if family.ropeAlpha && r.Type == "dynamic" && s.float("alpha", 0) > 0 {
		// A fixed change of the base, whatever the length (NTK-aware scaling).
		dim := float64(c.HeadDim)
		c.RopeTheta *= math.Pow(s.float("alpha", 0), dim/(dim-2))
		r.Type = "default"
	}
	if r.Type == "mrope" { // its sections use three positions per token, which are equal for text
		r.Type = "default"
	}
	if r.Type == "proportional" {
		r.Share, r.Factor = share, s.float("factor", 1)
	}
	c.longRope(f, r)
	r.check(s)
	if s.err != nil && f.err == nil {
		f.err = s.err
	}
	if r.Type != "default" || r.QueryBeta != 0 {
		c.RopeScaling = r
	}
}

// CountsFactor reports whether factor is used with original_max_position_embeddings, instead of
// the ratio of max_position_embeddings to it.
func (r *RopeScaling) CountsFactor() bool {
	return r.KeepFactor && (r.Type == "yarn" || r.Type == "longrope" && r.Factor > 0)
}

// ownHeads sets the number of rotated elements where it depends on the kind of layer: without
// scaling, and with scaling type proportional, all elements are counted.
func (c *ModelConfig) ownHeads(s *fields) {
	if c.Layers == nil || s == nil {
		return
	}
	if kind := s.string("rope_type", "default"); kind == "default" || kind == "proportional" {
		c.RotaryDim = c.headDim(false)
	}
	if c.LocalRotary = c.headDim(true); c.RopeLocalBase == 0 && c.LocalRotary != c.RotaryDim {
		c.RopeLocalBase = c.RopeTheta
	}
}

// ropeParameters reads what transformers 5 has instead of rope_theta and rope_scaling: one
// object, or one for each kind of layer. It returns that of layers with full attention; layers
// with a sliding window have their own theta.
func (c *ModelConfig) ropeParameters(f, p *fields) *fields {
	full, sliding := p.object("full_attention"), p.object(slidingAttention)
	if full == nil && sliding == nil {
		c.RopeTheta = p.float("rope_theta", c.RopeTheta)
		f.take(p)
		return p
	}
	if sliding != nil {
		c.RopeLocalBase = sliding.float("rope_theta", cmp.Or(c.RopeLocalBase, c.RopeTheta))
		if kind := sliding.string("rope_type", "default"); kind != "default" {
			sliding.fail("rope_type is %q, and layers with a window are turned without scaling here", kind)
		}
		f.take(sliding)
	}
	if full != nil {
		c.RopeTheta = full.float("rope_theta", c.RopeTheta)
		f.take(full)
	}
	if full == nil {
		c.RopeTheta = c.RopeLocalBase
	}
	if full == nil || sliding != nil && c.RopeLocalBase == c.RopeTheta && full.string("rope_type", "default") == "default" {
		c.RopeLocalBase = 0 // all layers have the same
	}
	f.take(p)
	return full
}

// longRope handles what is special about phi3: two older names, and the original length beside
// rope_scaling instead of in it, which transformers reads for this type only.
func (c *ModelConfig) longRope(f *fields, r *RopeScaling) {
	inside := r.OriginalMaxPositionEmbeddings // transformers 5 has it in rope_scaling
	if c.ModelType == "phi3" && (r.Type == "su" || r.Type == "yarn") {
		r.Type = "longrope"
	}
	if r.Type != "longrope" {
		return
	}
	r.OriginalMaxPositionEmbeddings = 0
	if c.ModelType == "phi3" || f.has("original_max_position_embeddings") {
		r.OriginalMaxPositionEmbeddings = f.int("original_max_position_embeddings", cmp.Or(inside, 4096))
	} else if f.has("rope_parameters") {
		r.OriginalMaxPositionEmbeddings = inside
	}
}

// check returns an error if a key is missing that the scaling type needs.
func (r *RopeScaling) check(s *fields) {
	switch r.Type {
	case "":
		s.fail("rope_type is missing")
	case "proportional":
		if r.Factor <= 0 {
			s.fail("factor is %v, want more than 0", r.Factor)
		}
	case "linear", "dynamic", "yarn", "llama3":
		if !s.has("factor") {
			s.fail("factor is missing, rope_type %s needs it", r.Type)
		} else if r.Factor < 1 {
			s.fail("factor is %v, want at least 1", r.Factor)
		}
	}
	if r.QueryBeta < 0 || r.QueryBeta > 0 && r.OriginalMaxPositionEmbeddings < 1 {
		s.fail("llama_4_scaling_beta is %v, want at least 0, and original_max_position_embeddings beside it", r.QueryBeta)
	}
	if r.Type != "llama3" {
		return
	}
	for _, key := range []string{"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"} {
		if !s.has(key) {
			s.fail("%s is missing, rope_type llama3 needs it", key)
		}
	}
	if r.HighFreqFactor < r.LowFreqFactor { // llama4 has equal ones
		s.fail("high_freq_factor %v must not be below low_freq_factor %v", r.HighFreqFactor, r.LowFreqFactor)
	}
}
