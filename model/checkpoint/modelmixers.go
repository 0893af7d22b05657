package checkpoint

// LinearAttention is the shape of a gated delta rule in place of attention
// (arXiv:2412.06464); three of four layers of qwen3_next and qwen3_5 have it.
type LinearAttention struct {
	KeyHeads, ValueHeads int // KeyHeads divides ValueHeads
	KeyDim, ValueDim     int // per head
}

// mixerDefaults are the defaults of families in which some layers have no attention; kind
// "": all have it.
type mixerDefaults struct {
	kind   string // the name of such a layer in layer_types
	every  int    // full_attention_interval: every every-th layer has attention; 0: full_attn_idxs lists them
	linear LinearAttention
}

var deltaNet = mixerDefaults{kind: "linear_attention", every: 4, linear: LinearAttention{KeyHeads: 16, ValueHeads: 32, KeyDim: 128, ValueDim: 128}}

// readMixers reads which layers have no attention, and what they have in its place.
func (c *ModelConfig) readMixers(f *fields, family familyDefaults) {
	d := family.mixer
	if d.kind == "" {
		return
	}
	c.Recurrent = make([]bool, c.NumHiddenLayers)
	switch {
	case len(c.LayerTypes) == c.NumHiddenLayers:
		for i, kind := range c.LayerTypes {
			c.Recurrent[i] = kind == d.kind
		}
	case d.every > 0:
		every := f.size("full_attention_interval", d.every, maxLayers)
		for i := range c.Recurrent {
			c.Recurrent[i] = (i+1)%every != 0
		}
	case f.has("full_attn_idxs"):
		for i := range c.Recurrent {
			c.Recurrent[i] = true
		}
		for _, i := range f.ints("full_attn_idxs") {
			if i >= 0 && i < len(c.Recurrent) {
				c.Recurrent[i] = false
			}
		}
	}
	if d.linear.KeyHeads == 0 {
		c.ConvWidth, c.ConvBias = f.size("conv_L_cache", 3, maxConv), f.bool("conv_bias", false)
		return
	}
	c.ConvWidth = f.size("linear_conv_kernel_dim", 4, maxConv)
	c.Linear = &LinearAttention{
		KeyHeads: f.size("linear_num_key_heads", d.linear.KeyHeads, maxSize), ValueHeads: f.size("linear_num_value_heads", d.linear.ValueHeads, maxSize),
		KeyDim: f.size("linear_key_head_dim", d.linear.KeyDim, maxSize), ValueDim: f.size("linear_value_head_dim", d.linear.ValueDim, maxSize),
	}
	if l := c.Linear; l.ValueHeads%l.KeyHeads != 0 {
		f.fail("linear_num_value_heads %d is not a multiple of linear_num_key_heads %d", l.ValueHeads, l.KeyHeads)
	}
}

// maxConv bounds the width of a convolution over tokens.
const maxConv = 1 << 10

// adjustWidth computes the width of lfm2's MLPs from intermediate_size: two thirds of it,
// times a factor, rounded up to whole blocks.
func (c *ModelConfig) adjustWidth(f *fields, family familyDefaults) {
	if !family.adjusted || !f.bool("block_auto_adjust_ff_dim", true) {
		return
	}
	width := int(f.float("block_ffn_dim_multiplier", 1) * float64(int(float64(2*c.IntermediateSize)/3)))
	block := f.size("block_multiple_of", 256, maxSize)
	width = (width + block - 1) / block * block
	if c.IntermediateSize = width; width < 1 || width > maxSize {
		f.fail("block_ffn_dim_multiplier leaves MLPs of width %d", width)
		c.IntermediateSize = 1
	}
}
