package train

import (
	"encoding/json"

	"dataflex.dev/dataflex/algo/curriculum"
)

// position is how far a run is: the small part of the loop's state, which a checkpoint
// keeps beside the weights, the window and what decides on the rows.
type position struct {
	step      int // done
	totals    totals
	skipped   skips
	ledger    *curriculum.Ledger // of the rows dealt out
	lastSaved string             // the newest complete checkpoint
}

func (p *position) lastCheckpoint() string {
	if p.lastSaved == "" {
		return "no checkpoint was saved yet"
	}
	return "the last good checkpoint is " + p.lastSaved
}

// totals is what a run adds up, and a checkpoint keeps.
type totals struct {
	Loss        float64 `json:"loss"`         // of all steps
	WindowLoss  float64 `json:"window_loss"`  // since the last log line
	WindowSteps int     `json:"window_steps"` // likewise
	Flos        float64 `json:"flos"`
	Tokens      int     `json:"tokens"`    // trained on, without padding
	Padded      int     `json:"padded"`    // as upstream counts input tokens
	Seconds     float64 `json:"seconds"`   // of training, selections included
	Selecting   float64 `json:"selecting"` // of which selecting
	Selections  int     `json:"selections"`
}

// count keeps the books of a step: the ledger, and upstream's, which go by padded tokens;
// nonEmbedding is the parameters but the embeddings.
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

// add counts a row once more; first says that it has not been left out before.
func (s *skips) add(row int) (first bool) {
	if *s == nil {
		*s = skips{}
	}
	(*s)[row]++
	return (*s)[row] == 1
}

// times is how many samples were left out, a row as often as it was.
func (s skips) times() (n int) {
	for _, times := range s {
		n += times
	}
	return n
}

// rest is what a step moves before the weights move, as the step began.
type rest struct {
	curriculum json.RawMessage
	skipped    skips
	noted      int // entries of the history
}
