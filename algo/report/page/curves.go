package page

import (
	"math"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/pyjson"
)

// Curve is values over the steps.
type Curve struct {
	Panel string    `json:"panel"` // the picture it belongs to: loss, learning_rate, …
	Name  string    `json:"name"`
	X     []float64 `json:"x"`
	Y     []float64 `json:"y"`
	Of    int       `json:"of,omitempty"` // number of points, where not all are drawn
}

// drawn is the maximum number of points of a curve on a page.
const drawn = 800

// thin reduces a long curve to the lowest and the highest point of every stretch.
func thin(c Curve) Curve {
	n := len(c.X)
	if n <= drawn {
		return c
	}
	out := Curve{Panel: c.Panel, Name: c.Name, Of: n}
	const stretches = drawn / 2
	for s := range stretches {
		lo, hi := s*n/stretches, (s+1)*n/stretches
		low, high := lo, lo
		for i := lo; i < hi; i++ {
			if c.Y[i] < c.Y[low] {
				low = i
			}
			if c.Y[i] > c.Y[high] {
				high = i
			}
		}
		for _, i := range slices.Compact([]int{min(low, high), max(low, high)}) {
			out.X, out.Y = append(out.X, c.X[i]), append(out.Y, c.Y[i])
		}
	}
	return out
}

// curveSet collects points by picture and name, in order of first appearance.
type curveSet struct{ all []Curve }

func (s *curveSet) add(panel, name string, step float64, v any) {
	y, ok := v.(float64)
	if n, isInt := v.(int); isInt {
		y, ok = float64(n), true
	}
	if !ok || math.IsNaN(y) || math.IsInf(y, 0) {
		return
	}
	i := slices.IndexFunc(s.all, func(c Curve) bool { return c.Panel == panel && c.Name == name })
	if i < 0 {
		i, s.all = len(s.all), append(s.all, Curve{Panel: panel, Name: name})
	}
	s.all[i].X, s.all[i].Y = append(s.all[i].X, step), append(s.all[i].Y, y)
}

// addCurves reads the losses, learning rate and speed. trainer_log.jsonl exists while a run is
// in progress; trainer_state.json, of a finished run, has more.
func (r *Run) addCurves(dir string) error {
	log, err := report.ReadLog(dir)
	if err != nil {
		return err
	}
	last := 0
	for _, l := range log {
		if n, ok := l.Get("current_steps").(int); ok {
			last = max(last, n)
		}
	}
	history, err := historyAt(dir, last)
	if err != nil {
		return err
	}
	var set curveSet
	if history != nil {
		set.ofHistory(history)
	} else {
		set.ofLog(log)
	}
	set.ofSpeed(r)
	for _, c := range set.all {
		r.Curves = append(r.Curves, thin(c))
	}
	return nil
}

func (s *curveSet) ofHistory(history []pyjson.Object) {
	for _, h := range history {
		step, ok := h.Get("step").(int)
		if !ok || h.Get("train_loss") != nil { // the last entry summarises the run
			continue
		}
		for _, f := range h {
			switch {
			case f.Key == "loss":
				s.add("loss", "loss", float64(step), f.Value)
			case strings.HasPrefix(f.Key, "eval_") && strings.HasSuffix(f.Key, "_loss"):
				s.add("loss", f.Key, float64(step), f.Value)
			case f.Key == "learning_rate", f.Key == "grad_norm":
				s.add(f.Key, f.Key, float64(step), f.Value)
			case strings.HasPrefix(f.Key, "eval_") && (strings.HasSuffix(f.Key, "_accuracy") || strings.HasSuffix(f.Key, "_perplexity")):
				s.add(f.Key, f.Key, float64(step), f.Value)
			}
		}
	}
}

// ofLog reads the log of a run in progress, in which evaluation sets have no names: the lines
// of one step follow each other.
func (s *curveSet) ofLog(log []pyjson.Object) {
	at, nth := -1, 0
	for _, l := range log {
		step, ok := l.Get("current_steps").(int)
		if !ok {
			continue
		}
		if l.Get("loss") != nil {
			s.add("loss", "loss", float64(step), l.Get("loss"))
			s.add("learning_rate", "learning_rate", float64(step), l.Get("lr"))
		}
		if l.Get("eval_loss") == nil {
			continue
		}
		if nth++; step != at {
			at, nth = step, 1
		}
		name := "eval_loss"
		if nth > 1 {
			name += " of set " + string(rune('0'+min(nth, 9)))
		}
		s.add("loss", name, float64(step), l.Get("eval_loss"))
	}
}

// ofSpeed is tokens per second of training, from one line of the log to the next; selecting,
// evaluating and saving are left out.
func (s *curveSet) ofSpeed(r *Run) {
	tokens, seconds := 0, 0.0
	for _, l := range r.lines {
		if l.Run != nil && l.Run.From > 0 {
			seconds = -1 // a resumed run's clock starts in the middle of a stretch
		}
		if l.Step == nil {
			continue
		}
		training := l.Step.Training()
		if d := training - seconds; seconds >= 0 && d > 0 && l.Step.Tokens > tokens {
			s.add("tokens_per_second", "tokens_per_second", float64(l.Step.Step), float64(l.Step.Tokens-tokens)/d)
		}
		tokens, seconds = l.Step.Tokens, training
	}
}
