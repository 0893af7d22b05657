package decoder

import (
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
)

// Outline is the model of a folder without its tensors: enough for who asks for its
// configuration alone. Weights that are missing, or of files that are not whole, are an
// error, unless the model starts from random ones.
func Outline(dir string, opt Options, random bool) (*Model, error) {
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	if !random {
		w, err := checkpoint.OpenWeights(dir)
		if err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	return &Model{dir: dir, name: opt.Name, config: opt.apply(c), family: families[c.ModelType], tape: autograd.New(nil)}, nil
}
