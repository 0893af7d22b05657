package processor

import (
	"slices"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// sft encodes samples for supervised fine-tuning.
func sft(tok *tokenizer.Tokenizer, tmpl *template.Template, samples []data.Sample, o Options) ([]data.Example, []Dropped, error) {
	e, err := NewSFT(tok, tmpl, o)
	if err != nil {
		return nil, nil, err
	}
	return run(e, samples)
}

// pretrain encodes samples for pre-training.
func pretrain(tok Text, tmpl *template.Template, samples []data.Sample, o Options) ([]data.Example, []Dropped, error) {
	e, err := NewPretrain(tok, tmpl, o)
	if err != nil {
		return nil, nil, err
	}
	return run(e, samples)
}

// run encodes samples in memory, one after another.
func run(e Encoder, samples []data.Sample) ([]data.Example, []Dropped, error) {
	examples := make([]data.Example, len(samples))
	faults := make([]*Dropped, len(samples))
	for i := range samples {
		var err error
		if examples[i], faults[i], err = e.Encode(&samples[i]); err != nil {
			return nil, nil, err
		}
	}
	usable := make([]data.Example, 0, len(samples))
	var dropped []Dropped
	tokens := 0
	starts := make([]int, 0, len(samples)+1) // usable rows before each sample
	for i, d := range faults {
		starts = append(starts, len(usable))
		if d != nil {
			dropped = append(dropped, *d)
			continue
		}
		usable = append(usable, examples[i])
		tokens += len(examples[i].InputIDs)
	}
	starts = append(starts, len(usable))
	out := usable
	if e.Packs() {
		out = nil
		for _, b := range e.Batches(len(samples)) {
			err := e.Pack(usable[starts[b[0]]:starts[b[1]]], func(ex data.Example) error {
				out = append(out, ex)
				return nil
			})
			if err != nil {
				return nil, dropped, err
			}
		}
	}
	if len(out) == 0 {
		return nil, dropped, e.Empty(len(samples), tokens, dropped)
	}
	return slices.Clip(out), dropped, nil
}
