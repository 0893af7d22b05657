package decoder

import (
	"fmt"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Classifier is a decoder whose head scores sequences instead of predicting tokens
// (transformers' …ForSequenceClassification), as reward models have it.
type Classifier struct {
	model *Model
	score *tensor.Param // [Labels, Hidden], without bias
}

// scoreName is the name of the head's tensor.
const scoreName = "score.weight"

// CheckClassifier returns the number of outputs of the classifier in dir, or an error if
// LoadClassifier cannot read it. It does not read the weights.
func CheckClassifier(dir string) (labels int, err error) {
	if _, err := readClassifierConfig(dir); err != nil {
		return 0, err
	}
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	return labelsOf(w, dir)
}

func readClassifierConfig(dir string) (Config, error) {
	c, err := checkpoint.ReadModelConfig(dir)
	if err != nil {
		return Config{}, err
	}
	if f, ok := families[c.ModelType]; ok {
		judge := f.classPrefix() + "ForSequenceClassification"
		if len(c.Architectures) > 0 && !slices.Contains(c.Architectures, judge) {
			return Config{}, fmt.Errorf("%s: architectures %v is not a classifier of model_type %q: that is %s", c.Path, c.Architectures, c.ModelType, judge)
		}
		c.Architectures = nil
	}
	out, err := fromCheckpoint(c)
	out.Tied = true // a classifier has no head over the vocabulary
	return out, err
}

// labelsOf returns the number of rows of the head, from its tensor: config.json has it only if
// it is not 2.
func labelsOf(w *checkpoint.Weights, dir string) (int, error) {
	shape, ok := w.Shape(scoreName)
	if !ok || len(shape) != 2 {
		return 0, fmt.Errorf("%s: no tensor %q [labels, hidden_size]: this is not a sequence classifier", dir, scoreName)
	}
	return shape[0], nil
}

// LoadClassifier loads a sequence classifier to dev, with all weights frozen and in float32.
func LoadClassifier(dev driver.Device, dir string) (*Classifier, error) {
	config, err := readClassifierConfig(dir)
	if err != nil {
		return nil, err
	}
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	labels, err := labelsOf(w, dir)
	if err != nil {
		return nil, err
	}
	m, err := build(dev, dir, config, forms{stored: holds(w), codes: w.Coded})
	if err != nil {
		return nil, err
	}
	c := &Classifier{model: m}
	if c.score, err = tensor.New(dev, scoreName, labels, config.Hidden); err == nil {
		err = m.read(w, dir, append(m.base(), c.score), (*tensor.Param).String)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close frees all memory; c must not be used afterwards.
func (c *Classifier) Close() {
	if c.score != nil {
		c.score.Free(c.model.dev)
	}
	c.model.Close()
}

// Labels is the number of outputs.
func (c *Classifier) Labels() int { return c.score.Shape[0] }

// Logits returns the head's outputs [sequences][Labels] for b's sequences, computed from a
// sequence's last token that is not the pad_token_id of config.json or, if all are, from its
// first token, as in transformers.
func (c *Classifier) Logits(b Batch) ([][]float32, error) {
	m := c.model
	hidden, err := m.Hidden(b, m.config.Layers)
	if err != nil {
		return nil, err
	}
	segments := b.Segments
	if segments == nil {
		segments = []int32{0, int32(len(b.Tokens))}
	}
	n, d, labels := len(segments)-1, m.config.Hidden, c.Labels()
	at := make([]int32, n)
	for i := range at {
		at[i] = m.lastToken(b.Tokens, segments[i], segments[i+1])
	}
	memory, err := m.dev.Alloc(4 * n * (d + labels))
	if err != nil {
		return nil, fmt.Errorf("outputs of %d sequences: %w", n, err)
	}
	defer m.dev.Free(memory)
	buffer := driver.View[float32](memory)
	rows, logits := buffer.Sub(0, n*d), buffer.Sub(n*d, n*(d+labels))
	embed.Forward(m.dev, hidden, at, rows, d)
	gemm.Run(m.dev, gemm.NT, 1, gemm.Dense(rows, n, d), gemm.Dense(c.score.Data, labels, d), 0, gemm.Dense(logits, n, labels))
	z, err := driver.Read(m.dev, logits)
	if err != nil {
		return nil, err
	}
	out := make([][]float32, n)
	for i := range out {
		out[i] = slices.Clone(z[i*labels : (i+1)*labels])
	}
	return out, nil
}

func (m *Model) lastToken(tokens []int32, lo, hi int32) int32 {
	for t := hi - 1; t > lo; t-- {
		if !m.config.Padding.Given || tokens[t] != m.config.Padding.ID {
			return t
		}
	}
	return lo
}
