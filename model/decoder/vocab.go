package decoder

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/dropout"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Init builds a model with the shape of dir/config.json and random weights, as transformers
// initialises it: linear layers and embeddings are normal with standard deviation
// initializer_range, from normal, which draws from N(0, 1); norms are 1, biases and the padding
// token's embedding 0; some families differ. All weights are frozen.
func Init(dev driver.Device, dir string, opt Options, normal func() float64) (*Model, error) {
	return start(dev, dir, opt, normal, func(p *tensor.Param, deviation float64) error {
		return write(dev, p, func() float64 { return deviation * normal() })
	})
}

// write fills p with values from next.
func write(dev driver.Device, p *tensor.Param, next func() float64) error {
	return p.Write(dev, func(w []float32) error {
		for i := range w {
			w[i] = float32(next())
		}
		return nil
	})
}

// InitOnDevice is Init with uniform weights of the same standard deviation, drawn on the
// device. It is for benchmarks, where only the shape matters and drawing billions of numbers on
// the host would take minutes.
func InitOnDevice(dev driver.Device, dir string, opt Options, seed uint64) (*Model, error) {
	stream := uint32(0)
	return start(dev, dir, opt, rand.New(rand.NewPCG(seed, 0)).NormFloat64, func(p *tensor.Param, deviation float64) error {
		stream++
		return p.Update(dev, func(w driver.F32) {
			reduce.Fill(dev, 0, w)
			cols := p.Shape[len(p.Shape)-1]
			dropout.Noise(dev, dropout.Key{Seed: seed, Stream: stream}, float32(deviation*math.Sqrt(3)), w.Len()/cols, cols, w)
		})
	})
}

// start builds a model with the shape of dir/config.json. draw initialises its matrices; normal
// is for the few vectors that a family initialises in its own way.
func start(dev driver.Device, dir string, opt Options, normal func() float64, draw func(p *tensor.Param, deviation float64) error) (*Model, error) {
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	if c.Multimodal != nil {
		return nil, fmt.Errorf("%s is a %s model, of which the language model alone is computed here: its towers cannot be drawn, only kept; leave train_from_scratch out", dir, c.Multimodal.ModelType)
	}
	m, err := build(dev, dir, opt.apply(c), forms{half: opt.BF16, planned: opt.Planned, shards: opt.Shards})
	if err != nil {
		return nil, err
	}
	m.name, m.options = opt.Name, opt
	m.origin.note(drawn)
	if opt.Planned {
		return m, nil
	}
	for _, p := range m.parts {
		switch {
		case p.linear != nil:
			err = draw(p.linear.Weight, c.InitializerRange)
		case p.start != nil:
			err = write(dev, p.param, func() float64 { return p.start(normal()) })
		case p.ones:
			err = p.param.Write(dev, ones)
		case p.fixed || p.zero: // stays 0
		case len(p.param.Shape) > 1:
			err = draw(p.param, c.InitializerRange)
		default:
			err = p.param.Write(dev, ones)
		}
		if err != nil {
			m.Close()
			return nil, err
		}
	}
	if c.Padding.Given {
		err := m.clearRow(m.embed, int(c.Padding.ID))
		if m.inputs != nil {
			err = errors.Join(err, m.clearRow(m.inputs.table, int(c.Padding.ID)))
		}
		if err != nil {
			m.Close()
			return nil, err
		}
	}
	return m, nil
}

// ones fills a tensor with ones.
func ones(w []float32) error {
	for i := range w {
		w[i] = 1
	}
	return nil
}

func (m *Model) clearRow(p *tensor.Param, row int) error {
	d := p.Shape[1]
	w, err := p.Read(m.dev)
	if err != nil {
		return err
	}
	clear(w[row*d : (row+1)*d])
	return p.Upload(m.dev, w)
}

// vocabMultiple is the multiple that ResizeVocab rounds up to, as in LLaMA-Factory.
const vocabMultiple = 64

// ResizeVocab makes the vocabulary large enough for n tokens. If it is smaller it grows to the
// next multiple of 64: every new row of the embeddings, and of the head unless it is tied, is
// the mean of the old rows plus noise of standard deviation 1/sqrt(Hidden) from normal, which
// draws from N(0, 1). A larger vocabulary stays as it is.
func (m *Model) ResizeVocab(n int, normal func() float64) error {
	old := m.config.Vocab
	if n <= old {
		return nil
	}
	if m.Quantised() {
		return errors.New("cannot resize embedding layers of a quantized model: add the tokens to the model in bf16, fp16 or float32 first, without quantization_bit")
	}
	rows := (n + vocabMultiple - 1) / vocabMultiple * vocabMultiple
	tables := []*tensor.Param{m.embed, m.head.Weight}
	if m.inputs != nil {
		tables = append(tables, m.inputs.table)
	}
	for _, p := range tables {
		had := p.Shape[0]
		if had >= rows { // a tied head, or a table that is large enough
			continue
		}
		if err := p.Grow(m.dev, rows); err != nil {
			return fmt.Errorf("a vocabulary of %d: %w", rows, err)
		}
		w, err := p.Read(m.dev)
		if err != nil {
			return fmt.Errorf("a vocabulary of %d: %w", rows, err)
		}
		noisyMean(w, had, p.Shape[1], normal)
		if err := p.Upload(m.dev, w); err != nil {
			return fmt.Errorf("a vocabulary of %d: %w", rows, err)
		}
	}
	if err := m.growBias(rows); err != nil {
		return fmt.Errorf("a vocabulary of %d: %w", rows, err)
	}
	m.config.Vocab, m.head.Out = rows, rows
	if m.inputs != nil {
		m.config.PerLayerVocab = m.inputs.table.Shape[0]
	}
	m.origin.note("vocabulary drawn from %d to %d", old, rows)
	m.number()
	return nil
}

// growBias extends the head's bias, if any, by the mean of the old values, as transformers
// does apart from its noise of 1e-9.
func (m *Model) growBias(rows int) error {
	if m.head.Bias == nil {
		return nil
	}
	old := m.head.Bias.Shape[0]
	if err := m.head.Bias.Grow(m.dev, rows); err != nil {
		return err
	}
	b, err := m.head.Bias.Read(m.dev)
	if err != nil {
		return err
	}
	var mean float64
	for _, x := range b[:old] {
		mean += float64(x) / float64(old)
	}
	for i := old; i < rows; i++ {
		b[i] = float32(mean)
	}
	return m.head.Bias.Upload(m.dev, b)
}

// noisyMean fills the rows of w [_, d] from old on.
func noisyMean(w []float32, old, d int, normal func() float64) {
	mean := make([]float64, d)
	for i, x := range w[:old*d] {
		mean[i%d] += float64(x) / float64(old)
	}
	deviation := 1 / math.Sqrt(float64(d))
	for i := old * d; i < len(w); i++ {
		w[i] = float32(mean[i%d] + deviation*normal())
	}
}

// makeRoom enlarges the vocabulary to that of an adapter trained with added tokens, whose
// embeddings and head are read afterwards.
func (m *Model) makeRoom(dir string, w *checkpoint.Weights) error {
	rows, old := m.config.Vocab, m.config.Vocab
	brought := map[string]int{} // rows of the tables in the adapter's file
	for _, path := range m.tables().Paths() {
		for _, name := range checkpoint.TableNames(path) {
			if shape, ok := w.Shape(name); ok && len(shape) == 2 {
				brought[path+".weight"] = shape[0]
				rows = max(rows, shape[0])
			}
		}
	}
	if rows == old {
		return nil
	}
	if m.inputs != nil && rows > m.config.PerLayerVocab {
		return fmt.Errorf("%s: the adapter was trained with a vocabulary of %d, and %s, which it does not bring, has %d rows: train with a vocabulary of that", dir, rows, m.inputs.table.Name, m.config.PerLayerVocab)
	}
	for _, p := range []*tensor.Param{m.embed, m.head.Weight} {
		if brought[p.Name] != rows {
			return fmt.Errorf("%s: the adapter was trained with a vocabulary of %d, and %s, which it does not bring, has %d rows: train it with additional_target: embed_tokens,lm_head", dir, rows, p.Name, old)
		}
		if p.Shape[0] == rows { // a tied head
			continue
		}
		if err := p.Grow(m.dev, rows); err != nil {
			return fmt.Errorf("a vocabulary of %d: %w", rows, err)
		}
	}
	if err := m.growBias(rows); err != nil {
		return fmt.Errorf("a vocabulary of %d: %w", rows, err)
	}
	m.config.Vocab, m.head.Out = rows, rows
	return nil
}

// tied reports whether the head shares the embeddings' parameter.
func (m *Model) tied() bool { return m.head.Weight == m.embed }

// untie gives a tied head its own parameter, a copy of the embeddings.
func (m *Model) untie() error {
	if !m.tied() {
		return nil
	}
	head, err := m.embed.NewLike(m.dev, m.headName(), m.config.Vocab, m.config.Hidden)
	if err != nil {
		return fmt.Errorf("a head of its own: %w", err)
	}
	rows, err := m.embed.Read(m.dev)
	if err == nil {
		err = head.Upload(m.dev, rows)
	}
	if err != nil {
		head.Free(m.dev)
		return fmt.Errorf("a head of its own: %w", err)
	}
	m.head.Weight, m.config.Tied = head, false
	m.parts = append(m.parts, part{path: m.tables().Head, param: head})
	return nil
}

// current returns the model's config.json, with what has changed since it was read.
func (m *Model) current() (*checkpoint.ModelConfig, error) {
	c, err := checkpoint.ReadModelConfig(m.dir)
	if err != nil {
		return nil, err
	}
	if c.VocabSize != m.config.Vocab {
		c.Set("vocab_size", m.config.Vocab)
	}
	if m.inputs != nil && c.PerLayerVocab != m.inputs.table.Shape[0] {
		c.Set("vocab_size_per_layer_input", m.inputs.table.Shape[0])
	}
	if m.config.Tied != m.tiedThere {
		c.Set("tie_word_embeddings", m.config.Tied)
	}
	if s := m.options.Rope; s != nil {
		c.SetRopeScaling(checkpoint.RopeScaling{
			Type: s.Type, Factor: s.Factor, OriginalMaxPositionEmbeddings: s.OriginalMax, LowFreqFactor: s.LowFreqFactor, HighFreqFactor: s.HighFreqFactor,
		})
	}
	if n := m.options.MaxPositions; n != 0 {
		c.Set("max_position_embeddings", n)
	}
	return c, nil
}
