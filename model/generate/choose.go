package generate

import (
	"math"
	"math/rand/v2"
	"slices"
)

// chooser chooses the tokens of one sequence.
type chooser struct {
	o     Options
	draws *rand.Rand
	order []int32        // memory of candidates
	kept  []float64      // memory of probs
	probs []float64      // of the candidates, in their order, times a constant
	seen  map[int32]bool // tokens to penalise
}

// choose chooses a token from logits, which it modifies.
func (c *chooser) choose(logits []float32, tokens []int32) int32 {
	c.penalise(logits, tokens)
	best := argmax(logits)
	if c.o.Temperature == 0 {
		return best
	}
	candidates := c.candidates(logits)
	sum := c.softmax(logits, logits[best], candidates)
	if p := c.o.TopP; p > 0 && p < 1 {
		candidates, sum = c.nucleus(logits, candidates, p, sum)
	}
	u := c.draws.Float64() * sum
	for i, id := range candidates {
		if u -= c.probs[i]; u < 0 {
			return id
		}
	}
	return best // rounding may leave u at the end
}

func argmax(logits []float32) int32 {
	best := 0
	for i, z := range logits {
		if z > logits[best] {
			best = i
		}
	}
	return int32(best)
}

// penalise applies the repetition penalty. Each token's logit is changed once, however often the
// token occurs.
func (c *chooser) penalise(logits []float32, tokens []int32) {
	p := float32(c.o.RepetitionPenalty)
	if p == 0 || p == 1 {
		return
	}
	c.markSeen(tokens)
	for id := range c.seen {
		if logits[id] > 0 {
			logits[id] /= p
		} else {
			logits[id] *= p
		}
	}
}

// markSeen adds tokens to those that are penalised.
func (c *chooser) markSeen(tokens []int32) {
	if c.seen == nil {
		c.seen = map[int32]bool{}
	}
	for _, id := range tokens {
		c.seen[id] = true
	}
}

// candidates returns all tokens by id, or the TopK most probable ones in descending order.
func (c *chooser) candidates(logits []float32) []int32 {
	if len(c.order) != len(logits) {
		c.order = make([]int32, len(logits))
	}
	for i := range c.order {
		c.order[i] = int32(i)
	}
	k := c.o.TopK
	if k == 0 || k >= len(c.order) {
		return c.order
	}
	// A sorted list of the best k so far: most tokens are rejected at its end.
	top := c.order[:0]
	for id := range int32(len(logits)) {
		if len(top) == k && !before(logits, id, top[k-1]) {
			continue
		}
		at, _ := slices.BinarySearchFunc(top, id, func(a, b int32) int {
			if before(logits, a, b) {
				return -1
			}
			return 1
		})
		if len(top) < k {
			top = append(top, 0)
		}
		copy(top[at+1:], top[at:])
		top[at] = id
	}
	return top
}

// before reports whether a is more probable than b, or equally probable with a smaller id.
func before(logits []float32, a, b int32) bool {
	return logits[a] > logits[b] || (logits[a] == logits[b] && a < b)
}

// softmax sets probs to the candidates' probabilities times their sum, which it returns. largest
// is the largest logit.
func (c *chooser) softmax(logits []float32, largest float32, candidates []int32) (sum float64) {
	c.kept = c.kept[:0]
	for _, id := range candidates {
		p := math.Exp((float64(logits[id]) - float64(largest)) / c.o.Temperature)
		c.kept = append(c.kept, p)
		sum += p
	}
	c.probs = c.kept
	return sum
}

// nucleus returns the most probable candidates in descending order, as many as are needed to
// reach share of sum, and their own sum (Holtzman et al. 2020, arXiv:1904.09751, section 3.1).
func (c *chooser) nucleus(logits []float32, candidates []int32, share, sum float64) ([]int32, float64) {
	// Candidates below this are never needed: all of them together have less than 1 - share.
	least := (1 - share) * sum / float64(len(candidates))
	n := 0
	for i, id := range candidates {
		if c.probs[i] >= least {
			candidates[n], c.probs[n] = id, c.probs[i]
			n++
		}
	}
	h := heap{logits, candidates[:n], c.probs[:n]}
	for i := n/2 - 1; i >= 0; i-- {
		h.sink(i)
	}
	// As in heapsort, the most probable candidate moves from the front of the heap to its end,
	// until enough have moved.
	var reached float64
	for end := n - 1; end >= 0; end-- {
		h.swap(0, end)
		h.ids, h.probs = h.ids[:end], h.probs[:end]
		h.sink(0)
		if reached += c.probs[end]; reached >= share*sum || end == 0 {
			candidates, c.probs = candidates[end:n], c.probs[end:n]
			break
		}
	}
	slices.Reverse(candidates)
	slices.Reverse(c.probs)
	return candidates, reached
}

// heap is a binary heap with the most probable token in front. A nucleus usually needs only a few
// tokens, so that sorting all of them would be a waste.
type heap struct {
	logits []float32
	ids    []int32
	probs  []float64
}

func (h heap) swap(i, j int) {
	h.ids[i], h.ids[j] = h.ids[j], h.ids[i]
	h.probs[i], h.probs[j] = h.probs[j], h.probs[i]
}

func (h heap) sink(i int) {
	for {
		child := 2*i + 1
		if child+1 < len(h.ids) && before(h.logits, h.ids[child+1], h.ids[child]) {
			child++
		}
		if child >= len(h.ids) || !before(h.logits, h.ids[child], h.ids[i]) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
