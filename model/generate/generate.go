// Package generate continues prompts with a model: greedily or by seeded sampling,
// many sequences at a time over a cache of keys and values.
//
// A continuation depends only on its prompt, its index and the options: it has the same bits
// whatever else is generated in the same batch.
package generate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/model/decoder"
)

// Options configure how tokens are chosen, in transformers' order: repetition penalty,
// temperature, top-k, top-p, draw.
type Options struct {
	MaxNewTokens int     // at least 1
	Temperature  float64 // logits are divided by it; 0 = always the most probable token
	TopK         int     // only this many of the most probable tokens; 0 = all
	TopP         float64 // of these only the most probable ones that reach this probability together; 0 or 1 = all

	// RepetitionPenalty divides the positive and multiplies the negative logits of tokens that
	// occur in the sequence, prompt included (Keskar et al. 2019, arXiv:1909.05858, section 4.1);
	// 0 or 1 = none.
	RepetitionPenalty float64

	// Penalised are, per prompt, further tokens to which RepetitionPenalty applies; nil = none.
	Penalised [][]int32

	Stop  []int32 // a continuation ends before any of these
	Seed  uint64  // of the random draws
	Batch int     // sequences at once; 0 = DefaultBatch

	// Grown is called whenever a continuation has got a token, and ends it by returning true.
	// Done is called when a continuation has ended. Both are called from one goroutine and may be
	// nil; Grown must not retain the tokens.
	Grown func(prompt int, continuation []int32) (enough bool)
	Done  func(prompt int, continuation []int32)
}

// DefaultBatch is how many sequences are continued at a time.
const DefaultBatch = 16

func (o Options) validate() error {
	switch {
	case o.MaxNewTokens < 1:
		return fmt.Errorf("generate: max_new_tokens %d must be at least 1", o.MaxNewTokens)
	case o.Temperature < 0:
		return fmt.Errorf("generate: temperature %g must not be negative", o.Temperature)
	case o.TopK < 0:
		return fmt.Errorf("generate: top_k %d must not be negative", o.TopK)
	case o.TopP < 0 || o.TopP > 1:
		return fmt.Errorf("generate: top_p %g must be within 0 and 1", o.TopP)
	case o.RepetitionPenalty < 0:
		return fmt.Errorf("generate: repetition_penalty %g must not be negative", o.RepetitionPenalty)
	case o.Batch < 0:
		return fmt.Errorf("generate: batch %d must not be negative", o.Batch)
	}
	return nil
}

// Generate returns the continuation of each prompt, without the prompt and without the token
// that ended it. Empty prompts and options out of range are errors, and so is the end of ctx.
func Generate(ctx context.Context, m *decoder.Model, prompts [][]int32, o Options) ([][]int32, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	longest := 0
	for i, p := range prompts {
		if len(p) == 0 {
			return nil, fmt.Errorf("generate: prompt %d is empty", i)
		}
		longest = max(longest, len(p))
	}
	if len(prompts) == 0 {
		return nil, nil
	}
	if o.Penalised != nil && len(o.Penalised) != len(prompts) {
		return nil, fmt.Errorf("generate: penalised tokens of %d prompts for %d", len(o.Penalised), len(prompts))
	}
	if o.Batch == 0 {
		o.Batch = DefaultBatch
	}
	slots := min(o.Batch, len(prompts))
	cache, err := m.NewCache(slots, longest+o.MaxNewTokens)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	defer cache.Close()
	r := &run{cache: cache, vocab: m.Config().Vocab, o: o, prompts: prompts, out: make([][]int32, len(prompts))}
	for s := slots; s > 0; s-- {
		r.free = append(r.free, s-1)
	}
	for r.next < len(prompts) || len(r.active) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := r.round(); err != nil {
			return nil, fmt.Errorf("generate: %w", err)
		}
	}
	return r.out, nil
}

// run is a call of Generate.
type run struct {
	cache   *decoder.Cache
	vocab   int
	o       Options
	prompts [][]int32
	out     [][]int32
	next    int   // the first prompt that has not been started
	free    []int // slots
	active  []*sequence
}

// sequence is a prompt being continued.
type sequence struct {
	prompt, slot int
	tokens       []int32 // prompt and continuation
	chooser      chooser
}

// round generates the next token of every active sequence, after it has started prompts in the
// free slots and generated their first tokens.
func (r *run) round() error {
	going := slices.Clone(r.active) // start changes it
	if err := r.start(); err != nil || len(going) == 0 {
		return err
	}
	var slots []int
	var last []int32
	for _, s := range going {
		slots, last = append(slots, s.slot), append(last, s.tokens[len(s.tokens)-1])
	}
	logits, err := r.cache.Step(slots, last)
	if err != nil {
		return err
	}
	r.advance(going, logits)
	return nil
}

// start starts prompts in the free slots.
func (r *run) start() error {
	var slots []int
	var prompts [][]int32
	var started []*sequence
	for r.next < len(r.prompts) && len(r.free) > 0 {
		s := &sequence{
			prompt: r.next, slot: r.free[len(r.free)-1], tokens: slices.Clone(r.prompts[r.next]),
			chooser: chooser{o: r.o, draws: rand.New(rand.NewPCG(r.o.Seed, uint64(r.next)))},
		}
		if r.o.Penalised != nil {
			s.chooser.markSeen(r.o.Penalised[r.next])
		}
		r.free = r.free[:len(r.free)-1]
		slots, prompts, started = append(slots, s.slot), append(prompts, s.tokens), append(started, s)
		r.next++
	}
	if started == nil {
		return nil
	}
	logits, err := r.cache.Prefill(slots, prompts)
	if err != nil {
		return err
	}
	r.active = append(r.active, started...)
	r.advance(started, logits)
	return nil
}

// advance chooses the next token of every sequence from logits [len(sequences), vocab], and frees
// the slots of those that end.
func (r *run) advance(sequences []*sequence, logits []float32) {
	chosen := make([]int32, len(sequences))
	var each task.Group
	for i, s := range sequences {
		each.Go(func() { chosen[i] = s.chooser.choose(logits[i*r.vocab:(i+1)*r.vocab], s.tokens) })
	}
	each.Wait()
	for i, s := range sequences {
		ended := slices.Contains(r.o.Stop, chosen[i])
		if !ended {
			s.tokens = append(s.tokens, chosen[i])
			continuation := s.tokens[len(r.prompts[s.prompt]):]
			ended = r.o.Grown != nil && r.o.Grown(s.prompt, continuation) || len(continuation) == r.o.MaxNewTokens
		}
		if ended {
			r.out[s.prompt] = s.tokens[len(r.prompts[s.prompt]):]
			if r.o.Done != nil {
				r.o.Done(s.prompt, r.out[s.prompt])
			}
			r.free = append(r.free, s.slot)
			r.active = slices.DeleteFunc(r.active, func(x *sequence) bool { return x == s })
		}
	}
}
