package processor

import (
	"context"
	"errors"
	"fmt"

	"dataflex/data"
	"dataflex/data/template"
	"dataflex/data/tokenizer"
)

// Encoder is what pre-training needs of a tokenizer; *tokenizer.Tokenizer is one.
type Encoder interface {
	Encode(s string) []int32
	BOS() (token string, id int32, ok bool)
	EOS() (token string, id int32, ok bool)
	Pad() (token string, id int32, ok bool)
	AddBOS() bool
}

var _ Encoder = (*tokenizer.Tokenizer)(nil)

// Pretrain encodes samples for pre-training (pretrain.py): the first message of each
// and an end-of-text token. Packed, which is the default, the documents of a batch are
// strung together and cut into blocks of cutoff_len; what does not fill a block is
// lost. Every token is a label but the padding token (transformers'
// DataCollatorForLanguageModeling), which often is the end-of-text token too.
//
// Of the template only the name matters; it has fixed the tokenizer already.
func Pretrain(ctx context.Context, tok Encoder, tmpl *template.Template, samples []data.Sample, o Options) ([]data.Example, []Dropped, error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	end, _, ok := tok.EOS()
	if tmpl.Name() == "llama3" {
		end, ok = "<|end_of_text|>", true
	}
	if !ok {
		return nil, nil, errors.New("the tokenizer has no eos token to end a document with")
	}
	packs := o.packs(true)
	begin := ""
	if bos, _, ok := tok.BOS(); ok && tok.AddBOS() && !packs {
		begin = bos
	}
	documents := make([][]int32, len(samples))
	err := parallel(ctx, len(samples), o.Threads, func(i int) error {
		if s := &samples[i]; s.Broken == "" && len(s.Prompt) > 0 {
			documents[i] = tok.Encode(begin + s.Prompt[0].Content + end)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	var dropped []Dropped
	tokens := 0
	for i := range samples {
		d, broken := dropBroken(&samples[i])
		if !broken && len(samples[i].Prompt) == 0 {
			d.Kind, broken = noPrompt, true
		}
		if broken {
			dropped = append(dropped, d)
		}
		tokens += len(documents[i])
	}
	if len(dropped) == len(samples) {
		return nil, dropped, nothingLeft(len(samples), dropped)
	}
	p := pretrainer{cutoff: o.cutoff(), pad: data.IgnoreIndex}
	if _, pad, ok := tok.Pad(); ok {
		p.pad = pad
	}
	if _, bos, ok := tok.BOS(); ok && tok.AddBOS() {
		p.bos, p.addBOS = bos, true
	}
	if !packs {
		return p.single(samples, documents), dropped, nil
	}
	out := p.blocks(samples, documents, o.batches(len(samples)))
	if len(out) == 0 {
		//lint:ignore ST1005 upstream's words, which people search for
		return nil, dropped, fmt.Errorf("Cannot find sufficient samples, consider increasing dataset size: %s hold %d tokens, and no batch of them fills a block of cutoff_len %d "+
			"(documents are joined within %d batches only: preprocessing_num_workers and preprocessing_batch_size make them)", count(len(samples), "document"), tokens, p.cutoff, len(o.batches(len(samples))))
	}
	return out, dropped, nil
}

// pretrainer makes rows out of encoded documents.
type pretrainer struct {
	cutoff int
	bos    int32
	addBOS bool
	pad    int32
}

// single truncates every document to a row of its own.
func (p *pretrainer) single(samples []data.Sample, documents [][]int32) []data.Example {
	var out []data.Example
	for i, ids := range documents {
		if ids != nil {
			ids = ids[:min(len(ids), p.cutoff)]
			out = append(out, data.Example{ID: samples[i].ID, InputIDs: ids, Labels: p.labels(ids)})
		}
	}
	return out
}

// blocks cuts the documents of each batch, strung together, into rows.
func (p *pretrainer) blocks(samples []data.Sample, documents [][]int32, batches [][2]int) []data.Example {
	var out []data.Example
	for _, b := range batches {
		var block data.Example
		for i := b[0]; i < b[1]; i++ {
			for ids := documents[i]; len(ids) > 0; {
				if block.InputIDs == nil {
					block = data.Example{ID: samples[i].ID, InputIDs: make([]int32, 0, p.cutoff)}
				}
				n := min(len(ids), p.cutoff-len(block.InputIDs))
				block.Members = append(block.Members, samples[i].ID)
				block.InputIDs = append(block.InputIDs, ids[:n]...)
				if ids = ids[n:]; len(block.InputIDs) == p.cutoff {
					out = append(out, p.finish(block))
					block.InputIDs = nil
				}
			}
		}
	}
	return out
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
