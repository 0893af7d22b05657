package jieba

import "math"

// The states of the hidden Markov model: a character begins a word, ends it, is in its middle,
// or is a word by itself. Of equal probabilities the later in this order wins.
const (
	begins = iota
	ends
	inside
	alone
	states
)

// never is the logarithm that jieba has for an impossible event.
const never = -3.14e100

// initial and transition are jieba's finalseg/prob_start.py and prob_trans.py.
var (
	initial    = [states]float64{begins: -0.26268660809250016, ends: never, inside: never, alone: -1.4652633398537678}
	transition = [states][states]float64{ // from, to
		begins: {ends: -0.510825623765990, inside: -0.916290731874155},
		ends:   {begins: -0.5897149736854513, alone: -0.8085250474669937},
		inside: {ends: -0.33344856811948514, inside: -1.2603623820268226},
		alone:  {begins: -0.7211965654669841, alone: -0.6658631448798212},
	}
	// before are the states that may come before one, in ascending order.
	before = [states][2]int{begins: {ends, alone}, ends: {begins, inside}, inside: {begins, inside}, alone: {ends, alone}}
)

// model appends the words of the most probable sequence of states (Viterbi's algorithm).
func (d *dictionary) model(words []string, s []rune) []string {
	from := make([][states]int, len(s)) // the state before each on the best sequence to it
	var best [states]float64
	for state := range best {
		best[state] = initial[state] + d.emission(state, s[0])
	}
	for i, c := range s[1:] {
		var now [states]float64
		for state := range now {
			emission, p := d.emission(state, c), math.Inf(-1)
			for _, was := range before[state] {
				if q := best[was] + transition[was][state] + emission; q >= p {
					p, from[i+1][state] = q, was
				}
			}
			now[state] = p
		}
		best = now
	}
	state := ends
	if best[alone] >= best[ends] {
		state = alone
	}
	last := make([]bool, len(s))
	for i := len(s) - 1; i >= 0; i-- {
		last[i] = state == ends || state == alone
		state = from[i][state]
	}
	at := 0
	for i := range s {
		if last[i] {
			words, at = append(words, string(s[at:i+1])), i+1
		}
	}
	return words
}

func (d *dictionary) emission(state int, c rune) float64 {
	if p, ok := d.emissions[state][c]; ok {
		return p
	}
	return never
}
