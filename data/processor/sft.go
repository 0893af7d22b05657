package processor

import (
	"errors"
	"fmt"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// NewSFT is the Encoder of supervised fine-tuning. The template has adapted the tokenizer
// already, so that it has a pad token.
func NewSFT(tok *tokenizer.Tokenizer, tmpl *template.Template, o Options) (Encoder, error) {
	_, eos, _ := tok.EOS()
	_, pad, _ := tok.Pad()
	e := &encoder{Options: o, efficientEOS: tmpl.EfficientEOS(), eos: eos, pad: pad}
	e.pairs = func(s *data.Sample) ([]template.Pair, error) { return tmpl.Encode(tok, s) }
	if o.MaskHistory {
		e.pairs = func(s *data.Sample) ([]template.Pair, error) { return tmpl.EncodeLast(tok, s) }
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return e, nil
}

// encoder is SFT without a concrete template and tokenizer.
type encoder struct {
	Options
	efficientEOS bool
	eos, pad     int32
	pairs        func(*data.Sample) ([]template.Pair, error)
}

func (e *encoder) check() error {
	if err := e.Options.check(); err != nil {
		return err
	}
	if e.TrainOnPrompt && e.efficientEOS {
		//lint:ignore ST1005 upstream's words, which people search for
		return errors.New("Current template does not support `train_on_prompt`: its answers share one end-of-text token; set train_on_prompt to false")
	}
	return nil
}

// Encode implements Encoder.
func (e *encoder) Encode(s *data.Sample) (data.Example, *Dropped, error) {
	if s.Fault != nil {
		return data.Example{}, nil, s.Fault
	}
	if d, bad := unusable(s); bad {
		return data.Example{}, &d, nil
	}
	pairs, err := e.pairs(s)
	if err != nil {
		return data.Example{}, nil, fmt.Errorf("dataset %s, row %d: %w", s.Dataset, s.Row, err)
	}
	out := data.Example{ID: s.ID, Subtask: s.Subtask, RowWeight: s.RowWeight}
	out.InputIDs, out.Labels = e.assemble(pairs)
	if n := len(out.InputIDs); e.Packs() && n > e.cutoff() {
		return out, &Dropped{s.ID, tooLong, fmt.Sprintf("dropped lengthy example with length %d > %d", n, e.cutoff())}, nil
	}
	return out, nil, nil
}

// Packs implements Encoder.
func (e *encoder) Packs() bool { return e.packs(false) }

// Empty implements Encoder.
func (e *encoder) Empty(rows, _ int, dropped []Dropped) error { return nothingLeft(rows, dropped) }

// unusable is upstream's test for an example to drop: there must be an odd number of prompt
// messages and one answer.
func unusable(s *data.Sample) (Dropped, bool) {
	d, broken := dropBroken(s)
	switch {
	case broken:
	case len(s.Response) != 1:
		d.Kind, d.Detail = noAnswer, "the answer's column is null, no string, or not mapped"
	case len(s.Prompt)%2 != 1:
		d.Kind = oddPrompt
	default:
		return d, false
	}
	return d, true
}

// InferLengths divides room between a source and a target that together may be longer
// (processor_utils.py infer_seqlen): a short side is kept whole, otherwise both are truncated
// in proportion.
func InferLengths(source, target, room int) (int, int) {
	limit := 0
	switch {
	case target*2 < room:
		limit = room
	case source*2 < room:
		limit = room - source
	default:
		limit = int(float64(room) * (float64(target) / float64(source+target)))
	}
	target = min(limit, target)
	return min(max(room-target, 0), source), target
}

// assemble joins the turns of a conversation into ids and labels and truncates them to the
// cutoff (supervised.py _encode_data_example). With mask_history the last turn gets room first
// and is the only one with labels.
func (e *encoder) assemble(pairs []template.Pair) (ids, labels []int32) {
	cutoff, total := e.cutoff(), 0
	if e.efficientEOS {
		total = 1
	}
	kept := make([]template.Pair, 0, len(pairs))
	size := total
	for t := range pairs {
		p := pairs[t]
		if e.MaskHistory {
			p = pairs[len(pairs)-1-t]
		}
		if total >= cutoff {
			break
		}
		source, target := InferLengths(len(p.Source), len(p.Target), cutoff-total)
		kept = append(kept, template.Pair{Source: p.Source[:source], Target: p.Target[:target]})
		total += source + target
		size += source + target
	}
	ids, labels = make([]int32, 0, size), make([]int32, 0, size)
	for i := range kept {
		t := i // the turn's position in the order in which turns get room
		if e.MaskHistory {
			t = len(kept) - 1 - i
		}
		ids = append(append(ids, kept[t].Source...), kept[t].Target...)
		labels = e.label(labels, kept[t], t)
	}
	if e.efficientEOS {
		ids, labels = append(ids, e.eos), append(labels, e.eos)
	}
	return ids, labels
}

// label appends the labels of the t-th turn to get room.
func (e *encoder) label(labels []int32, p template.Pair, t int) []int32 {
	from := len(labels)
	labels = append(labels, p.Source...)
	if !e.TrainOnPrompt {
		ignore(labels[from:])
		if e.efficientEOS && t != 0 && len(p.Source) > 0 {
			labels[from] = e.eos // the token that ends the answer before this question
		}
	}
	from = len(labels)
	labels = append(labels, p.Target...)
	if e.MaskHistory && t != 0 {
		ignore(labels[from:])
	}
	return labels
}

func ignore(labels []int32) {
	for i := range labels {
		labels[i] = data.IgnoreIndex
	}
}

// Pack implements Encoder: it fills rows with the batch's examples.
func (e *encoder) Pack(batch []data.Example, emit func(data.Example) error) error {
	lengths := make([]int, len(batch))
	for i := range batch {
		lengths[i] = len(batch[i].InputIDs)
	}
	for _, g := range knapsack(lengths, e.cutoff()) {
		members := make([]data.Example, len(g))
		for k, i := range g {
			members[k] = batch[i]
		}
		if err := emit(join(members, e.cutoff(), e.pad, e.NeatPacking)); err != nil {
			return err
		}
	}
	return nil
}
