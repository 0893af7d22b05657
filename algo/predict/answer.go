package predict

import (
	"bytes"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/generate"
)

// Options returns the generation options of a configuration; stop are the tokens that end an
// answer.
func Options(c *config.Config, stop []int32) generate.Options {
	g := c.Generating
	o := generate.Options{
		MaxNewTokens: g.MaxNewTokens, Temperature: g.Temperature, TopK: g.TopK, TopP: g.TopP,
		RepetitionPenalty: g.RepetitionPenalty, Stop: stop, Seed: uint64(c.Training.Seed),
	}
	if !g.DoSample {
		o.Temperature = 0
	}
	return o
}

// Stop returns the tokens that end an answer: the EOS, the template's stop words (nil = no
// template) and, as in LLaMA-Factory's predictions, every additional special token.
func Stop(tok *tokenizer.Tokenizer, tmpl *template.Template) (ids []int32) {
	if _, id, ok := tok.EOS(); ok {
		ids = append(ids, id)
	}
	var words []string
	if tmpl != nil {
		words = tmpl.StopWords()
	}
	additional, _ := tok.SpecialTokens()["additional_special_tokens"].([]any)
	for _, w := range additional {
		words = append(words, w.(string))
	}
	for _, w := range words {
		if id, ok := tok.ID(w); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// Padding returns, for generate.Options.Penalised, what left padding adds to the repetition
// penalty in LLaMA-Factory: in a batch with a longer prompt, padded to a multiple, a prompt
// counts as containing the padding token.
func Padding(rows []Row, batch, multiple int, tok *tokenizer.Tokenizer) [][]int32 {
	out := make([][]int32, len(rows))
	_, pad, ok := tok.Pad()
	for lo := 0; ok && lo < len(rows); lo += batch {
		hi, longest := min(lo+batch, len(rows)), 0
		for _, r := range rows[lo:hi] {
			longest = max(longest, len(r.Prompt))
		}
		longest = (longest + multiple - 1) / multiple * multiple
		for i := lo; i < hi; i++ {
			if len(rows[i].Prompt) < longest {
				out[i] = []int32{pad}
			}
		}
	}
	return out
}

// Answer is a line of generated_predictions.jsonl.
type Answer struct{ Prompt, Predict, Label string }

// NewAnswer decodes a row and its continuation.
func NewAnswer(tok *tokenizer.Tokenizer, r Row, continuation []int32, skipSpecial bool) Answer {
	return Answer{Prompt: tok.Decode(r.Prompt, false), Predict: tok.Decode(continuation, skipSpecial), Label: tok.Decode(r.Label, skipSpecial)}
}

// Line returns the answer as LLaMA-Factory writes it, with its newline.
func (a Answer) Line() string {
	return pyjson.Encode(pyjson.Object{{Key: "prompt", Value: a.Prompt}, {Key: "predict", Value: a.Predict}, {Key: "label", Value: a.Label}}, 0) + "\n"
}

// Lines returns the lines of all answers.
func Lines(answers []Answer) []byte {
	var b bytes.Buffer
	for _, a := range answers {
		b.WriteString(a.Line())
	}
	return b.Bytes()
}
