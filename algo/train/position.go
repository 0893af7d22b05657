package train

import (
	"encoding/json"

	"dataflex.dev/dataflex/algo/curriculum"
)

// position is the progress of a run: the small part of the loop's state, which a checkpoint
// stores beside the weights, the window and the curriculum's state.
type position struct {
	step      int // steps done
	totals    totals
	skipped   skips
	ledger    *curriculum.Ledger // of the rows trained on
	lastSaved string             // the newest complete checkpoint
}

func (p *position) lastCheckpoint() string {
	if p.lastSaved == "" {
		return "no checkpoint was saved yet"
	}
	return "the last good checkpoint is " + p.lastSaved
}

// totals is the sums of a run that a checkpoint stores.
type totals struct {
	Loss        float64 `json:"loss"`         // of all steps
	WindowLoss  float64 `json:"window_loss"`  // since the last log line
	WindowSteps int     `json:"window_steps"` // steps in WindowLoss
	Flos        float64 `json:"flos"`
	Tokens      int     `json:"tokens"`    // trained on, without padding
	Padded      int     `json:"padded"`    // as upstream counts input tokens
	Seconds     float64 `json:"seconds"`   // of training, selections included
	Selecting   float64 `json:"selecting"` // the part of Seconds spent on selections
	Selections  int     `json:"selections"`
}

// count adds a step to the ledger and the totals; Padded counts padded tokens, as upstream.
// nonEmbedding is the number of parameters without the embeddings.
func (p *position) count(g *gradient, nonEmbedding float64) {
	for _, micro := range g.dealt {
		p.ledger.Deal(micro.rows)
	}
	for _, m := range g.step.Micros {
		padded := m.PadLen * len(m.Rows)
		p.totals.Tokens += len(m.Tokens)
		p.totals.Padded += padded
		p.totals.Flos += 6 * float64(padded) * nonEmbedding
	}
}

// skips counts how often training rows were left out of a step.
type skips map[int]int

// add counts a row once more; first is true if it has not been left out before.
func (s *skips) add(row int) (first bool) {
	if *s == nil {
		*s = skips{}
	}
	(*s)[row]++
	return (*s)[row] == 1
}

// times is the number of samples left out; a row counts as often as it was.
func (s skips) times() (n int) {
	for _, times := range s {
		n += times
	}
	return n
}

// rest is the state, besides the weights, that a step changes before the weights change, as
// it was when the step began.
type rest struct {
	curriculum json.RawMessage
	skipped    skips
	noted      int // number of entries in the history
}
