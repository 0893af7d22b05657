package processor

import (
	"errors"
	"fmt"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// Text is the part of a tokenizer that pre-training needs; *tokenizer.Tokenizer implements it.
type Text interface {
	Encode(s string) []int32
	BOS() (token string, id int32, ok bool)
	EOS() (token string, id int32, ok bool)
	Pad() (token string, id int32, ok bool)
	AddBOS() bool
}

var _ Text = (*tokenizer.Tokenizer)(nil)

// NewPretrain is the Encoder of pre-training (pretrain.py): the first message of each sample
// and an end-of-text token. Packed, which is the default, the documents of a batch are
// concatenated and cut into blocks of cutoff_len; what does not fill a block is dropped. Every
// token is a label except the padding token (transformers' DataCollatorForLanguageModeling),
// which often is the end-of-text token as well.
//
// Of the template only the name matters here; it has adapted the tokenizer already.
func NewPretrain(tok Text, tmpl *template.Template, o Options) (Encoder, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	end, _, ok := tok.EOS()
	if tmpl.Name() == "llama3" {
		end, ok = "<|end_of_text|>", true
	}
	if !ok {
		return nil, errors.New("the tokenizer has no eos token to end a document with")
	}
	p := &pretrainer{Options: o, tok: tok, end: end, pad: data.IgnoreIndex}
	if _, pad, ok := tok.Pad(); ok {
		p.pad = pad
	}
	if bos, id, ok := tok.BOS(); ok && tok.AddBOS() {
		p.bos, p.addBOS = id, true
		if !p.Packs() {
			p.begin = bos
		}
	}
	return p, nil
}

// pretrainer makes rows from documents.
type pretrainer struct {
	Options
	tok        Text
	begin, end string // around every document
	bos        int32
	addBOS     bool // replaces the first token of a block
	pad        int32
}

// Packs implements Encoder.
func (p *pretrainer) Packs() bool { return p.packs(true) }

// Encode implements Encoder: a whole document where it will be packed, else one truncated to a
// row.
func (p *pretrainer) Encode(s *data.Sample) (data.Example, *Dropped, error) {
	if s.Fault != nil {
		return data.Example{}, nil, s.Fault
	}
	d, broken := dropBroken(s)
	if !broken && len(s.Prompt) == 0 {
		d.Kind, broken = noPrompt, true
	}
	if broken {
		return data.Example{}, &d, nil
	}
	out := data.Example{ID: s.ID, Subtask: s.Subtask, RowWeight: s.RowWeight, InputIDs: p.tok.Encode(p.begin + s.Prompt[0].Content + p.end)}
	if !p.Packs() {
		out.InputIDs = out.InputIDs[:min(len(out.InputIDs), p.cutoff())]
		out.Labels = p.labels(out.InputIDs)
	}
	return out, nil, nil
}

// Empty implements Encoder.
func (p *pretrainer) Empty(rows, tokens int, dropped []Dropped) error {
	if len(dropped) == rows {
		return nothingLeft(rows, dropped)
	}
	//lint:ignore ST1005 upstream's words, which people search for
	return fmt.Errorf("Cannot find sufficient samples, consider increasing dataset size: %s hold %d tokens, and no batch of them fills a block of cutoff_len %d "+
		"(documents are joined within %d batches only: preprocessing_num_workers and preprocessing_batch_size make them)", count(rows, "document"), tokens, p.cutoff(), len(p.Batches(rows)))
}

// Pack implements Encoder: it concatenates the batch's documents and cuts them into rows.
func (p *pretrainer) Pack(batch []data.Example, emit func(data.Example) error) error {
	var block data.Example
	for i := range batch {
		for ids := batch[i].InputIDs; len(ids) > 0; {
			if block.InputIDs == nil {
				block = data.Example{ID: batch[i].ID, InputIDs: make([]int32, 0, p.cutoff())}
			}
			n := min(len(ids), p.cutoff()-len(block.InputIDs))
			block.Members = append(block.Members, batch[i].ID)
			block.InputIDs = append(block.InputIDs, ids[:n]...)
			if ids = ids[n:]; len(block.InputIDs) == p.cutoff() {
				if err := emit(p.finish(block)); err != nil {
					return err
				}
				block.InputIDs = nil
			}
		}
	}
	return nil
}

// finish overwrites the block's first token with BOS where the tokenizer wants one.
func (p *pretrainer) finish(block data.Example) data.Example {
	if p.addBOS {
		block.InputIDs[0] = p.bos
	}
	block.Labels = p.labels(block.InputIDs)
	return block
}

func (p *pretrainer) labels(ids []int32) []int32 {
	labels := make([]int32, len(ids))
	for i, id := range ids {
		if labels[i] = id; id == p.pad {
			labels[i] = data.IgnoreIndex
		}
	}
	return labels
}
