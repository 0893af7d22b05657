package decoder

// attentionOf is the attention of layer i, which has one.
func attentionOf(m *Model, i int) *selfAttention { return m.layers[i].mixer.(*selfAttention) }

// mlpOf is the gated MLP of layer i, which has one.
func mlpOf(m *Model, i int) *gatedMLP { return m.layers[i].feed.(*gatedMLP) }
