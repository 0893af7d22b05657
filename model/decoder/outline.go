package decoder

import (
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
)

// Outline returns a folder's model without tensors, for reading its configuration. Missing or
// truncated weight files are an error, unless the model is to be initialised at random.
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
