package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/model/decoder"
)

// Tokenizer is the part of a tokenizer that multiple choice needs.
type Tokenizer interface {
	Encode(s string) []int32
	BOS() (token string, id int32, ok bool)
}

// ChoiceOptions configure MultipleChoice.
type ChoiceOptions struct {
	Shots     int // answered questions shown before each
	Limit     int // questions of each subject; 0 = all
	MaxLength int // tokens; longer contexts lose their beginning
	BOS       bool
	Progress  func(subject string, done, of int) // nil = none
}

// Score is a share of correct answers.
type Score struct {
	Questions int     `json:"questions"`
	Correct   int     `json:"correct"`
	Accuracy  float64 `json:"accuracy"`
	StdErr    float64 `json:"stderr"`
}

func (s *Score) add(o Score) {
	s.Questions += o.Questions
	s.Correct += o.Correct
	n := float64(s.Questions)
	s.Accuracy = float64(s.Correct) / max(n, 1)
	s.StdErr = 0
	if s.Questions > 1 {
		s.StdErr = math.Sqrt(s.Accuracy * (1 - s.Accuracy) / (n - 1))
	}
}

// ChoiceResult is the outcome of multiple choice. In means over several subjects every question
// has the same weight.
type ChoiceResult struct {
	Shots    int              `json:"shots"`
	Total    Score            `json:"total"`
	Groups   map[string]Score `json:"groups,omitempty"`
	Subjects map[string]Score `json:"subjects"`
}

// MultipleChoice evaluates the questions of subjects as lm-evaluation-harness does (task mmlu):
// the answer is the letter with the largest likelihood after the context; of equal ones the
// first.
func MultipleChoice(ctx context.Context, m *decoder.Model, tok Tokenizer, subjects []Subject, o ChoiceOptions) (ChoiceResult, error) {
	r := ChoiceResult{Shots: o.Shots, Groups: map[string]Score{}, Subjects: map[string]Score{}}
	for i, s := range subjects {
		if len(s.Shots) < o.Shots {
			return r, fmt.Errorf("subject %s: %d answered questions are asked for and dev has %d", s.Name, o.Shots, len(s.Shots))
		}
		if o.Progress != nil {
			o.Progress(s.Name, i, len(subjects))
		}
		score, err := ask(ctx, m, tok, s, o)
		if err != nil {
			return r, fmt.Errorf("subject %s: %w", s.Name, err)
		}
		r.Subjects[s.Name] = score
		r.Total.add(score)
		if g, ok := groups[s.Name]; ok {
			total := r.Groups[g]
			total.add(score)
			r.Groups[g] = total
		}
	}
	return r, nil
}

func ask(ctx context.Context, m *decoder.Model, tok Tokenizer, s Subject, o ChoiceOptions) (Score, error) {
	tests := s.Tests
	if o.Limit > 0 {
		tests = tests[:min(o.Limit, len(tests))]
	}
	asked := make([]asked, len(tests))
	for i, q := range tests {
		var err error
		if asked[i], err = encode(tok, s.context(q, o.Shots), o); err != nil {
			return Score{}, err
		}
	}
	best, err := answers(ctx, m, asked)
	score := Score{Questions: len(tests)}
	for i := range best {
		if best[i] == tests[i].Answer {
			score.Correct++
		}
	}
	var out Score
	out.add(score)
	return out, err
}

// asked is a question as tokens: the context, and the continuation for each letter.
type asked struct {
	context []int32
	choices [4][]int32
}

// encode separates context and answer as the harness does: the whole text is encoded, and the
// tokens beyond the number of the context's own are the answer.
func encode(tok Tokenizer, text string, o ChoiceOptions) (asked, error) {
	q := asked{context: tok.Encode(text)}
	n := len(q.context)
	longest := 0
	for i, letter := range letters {
		whole := tok.Encode(text + " " + letter)
		if len(whole) <= n {
			return q, fmt.Errorf("the tokenizer has no separate token for %q", " "+letter)
		}
		q.choices[i] = whole[n:]
		longest = max(longest, len(q.choices[i]))
	}
	if o.BOS {
		_, bos, ok := tok.BOS()
		if !ok {
			return q, errors.New("the tokenizer has no bos token")
		}
		q.context = append([]int32{bos}, q.context...)
	}
	if over := len(q.context) + longest - 1 - o.MaxLength; over > 0 {
		q.context = q.context[min(over, len(q.context)-1):]
	}
	return q, nil
}

// answers returns the likeliest letter of every question. Where each letter is one token, a
// single pass over the context is enough.
func answers(ctx context.Context, m *decoder.Model, questions []asked) ([]int, error) {
	best := make([]int, len(questions))
	for start := 0; start < len(questions); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		end, tokens := start, 0
		for end < len(questions) && (end == start || tokens+len(questions[end].context) <= maxTokens) {
			tokens += len(questions[end].context)
			end++
		}
		scores, err := likelihoods(m, questions[start:end])
		if err != nil {
			return nil, err
		}
		for i, s := range scores {
			best[start+i] = slices.Index(s[:], slices.Max(s[:]))
		}
		start = end
	}
	return best, nil
}

// likelihoods are the log-likelihoods of the letters after each question.
func likelihoods(m *decoder.Model, questions []asked) ([][4]float64, error) {
	for _, q := range questions {
		for _, c := range q.choices {
			if len(c) != 1 {
				return spelled(m, questions)
			}
		}
	}
	slots, prompts, longest := make([]int, len(questions)), make([][]int32, len(questions)), 0
	for i, q := range questions {
		slots[i], prompts[i] = i, q.context
		longest = max(longest, len(q.context))
	}
	cache, err := m.NewCache(len(questions), longest)
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	logits, err := cache.Prefill(slots, prompts)
	if err != nil {
		return nil, err
	}
	vocab := m.Config().Vocab
	out := make([][4]float64, len(questions))
	for i, q := range questions {
		row := logits[i*vocab : (i+1)*vocab]
		norm := logSumExp(row)
		for k, c := range q.choices {
			out[i][k] = float64(row[c[0]]) - norm
		}
	}
	return out, nil
}

func logSumExp(x []float32) float64 {
	top := float64(slices.Max(x))
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

// spelled scores letters of several tokens, each as a separate sequence.
func spelled(m *decoder.Model, questions []asked) ([][4]float64, error) {
	out := make([][4]float64, len(questions))
	for i, q := range questions {
		b := decoder.Batch{Segments: []int32{0}}
		for _, c := range q.choices {
			whole := append(slices.Clone(q.context), c...)
			for t := range whole[:len(whole)-1] {
				b.Tokens = append(b.Tokens, whole[t])
				target := int32(-1)
				if t+1 >= len(q.context) {
					target = whole[t+1]
				}
				b.Targets = append(b.Targets, target)
			}
			b.Segments = append(b.Segments, int32(len(b.Tokens)))
		}
		losses, err := m.Losses(b, 0)
		if err != nil {
			return nil, err
		}
		for k := range q.choices {
			for _, l := range losses[b.Segments[k]:b.Segments[k+1]] {
				out[i][k] -= float64(l)
			}
		}
	}
	return out, nil
}
