package reward

import (
	"context"
	"fmt"
	"math"
	"strings"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/decoder"
)

// ModelOptions configure a reward model.
type ModelOptions struct {
	// Template formats question and answer as a conversation; "" = the template equivalent to
	// the model's own chat template.
	Template string
	Longest  int // tokens; longer inputs lose their beginning, or their end where Text is set

	// Text, where not nil, formats question and answer as a text instead of a conversation, as
	// DataFlex does, and maps the output to 0 … 1: the logistic function of a single output, or
	// the softmax of the last of several outputs.
	Text *Texts
}

// Texts are a reward model's input texts, with {instruction}, {input}, {reference} and
// {prediction}. Without is for rows whose data has no answer.
type Texts struct{ With, Without string }

// DefaultTexts ask for a rating; DataFlex's own say the same in other words.
var DefaultTexts = Texts{
	With:    "Mark the candidate's response from 0 to 1, with the reference as the measure.\n\nInstruction:\n{instruction}\n\nInput:\n{input}\n\nReference:\n{reference}\n\nCandidate:\n{prediction}\n\nMark:",
	Without: "Mark the candidate's response from 0 to 1.\n\nInstruction:\n{instruction}\n\nInput:\n{input}\n\nCandidate:\n{prediction}\n\nMark:",
}

// Model is a reward model: a Hugging Face folder of a …ForSequenceClassification. Its reward is
// its raw output (Wang et al. 2025 use the logit), or see ModelOptions.Text. The weights are
// loaded at every call of Score and freed after it.
type Model struct {
	dev  driver.Device
	dir  string
	opt  ModelOptions
	tok  *tokenizer.Tokenizer
	tmpl *template.Template // nil with Text
}

// NewModel checks dir except for its weights, which Score reads, so that a faulty folder is
// reported when the run starts.
func NewModel(dev driver.Device, dir string, opt ModelOptions) (*Model, error) {
	labels, err := decoder.CheckClassifier(dir)
	if err != nil {
		return nil, err
	}
	m := &Model{dev: dev, dir: dir, opt: opt}
	if m.tok, err = tokenizer.Load(dir); err != nil {
		return nil, err
	}
	switch {
	case opt.Text != nil:
		return m, nil
	case labels != 1:
		return nil, fmt.Errorf("%s has %d outputs: a reward is one number (mode: upstream takes the last one's probability)", dir, labels)
	}
	m.tmpl, err = template.Find(opt.Template, m.tok, false)
	return m, err
}

// tokensAtOnce is the maximum number of tokens of a pass.
const tokensAtOnce = 4096

// Score rates every case.
func (m *Model) Score(ctx context.Context, cases []Case) ([]float64, error) {
	rows := make([]data.Example, len(cases))
	for i, c := range cases {
		ids, err := m.tokens(c)
		if err != nil {
			return nil, fmt.Errorf("reward model %s: answer %d: %w", m.dir, i, err)
		}
		rows[i] = data.Example{InputIDs: ids, Labels: data.Unlabelled(len(ids))}
	}
	judge, err := decoder.LoadClassifier(m.dev, m.dir)
	if err != nil {
		return nil, fmt.Errorf("reward model: %w", err)
	}
	defer judge.Close()
	out := make([]float64, len(cases))
	for _, group := range batch.ByLength(rows, tokensAtOnce) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		logits, err := judge.Logits(batch.Pack(rows, group).Batch)
		if err != nil {
			return nil, fmt.Errorf("reward model %s: %w", m.dir, err)
		}
		for k, i := range group {
			out[i] = m.reward(logits[k])
		}
	}
	return out, check(out, len(cases))
}

func (m *Model) tokens(c Case) ([]int32, error) {
	if m.opt.Text != nil {
		ids := m.tok.EncodeSpecial(m.opt.Text.fill(c))
		if len(ids) == 0 {
			return nil, fmt.Errorf("its prompt is empty")
		}
		return ids[:min(len(ids), m.opt.Longest)], nil
	}
	pair, err := m.tmpl.EncodeOne(m.tok, []data.Message{{Role: data.User, Content: c.Prompt}, {Role: data.Assistant, Content: c.Answer}}, "", "")
	if err != nil {
		return nil, err
	}
	ids := append(pair.Source, pair.Target...)
	if len(ids) == 0 {
		return nil, fmt.Errorf("question and answer are empty")
	}
	return ids[max(0, len(ids)-m.opt.Longest):], nil
}

func (t Texts) fill(c Case) string {
	or := func(s, instead string) string {
		if s = strings.TrimSpace(s); s == "" {
			return instead
		}
		return s
	}
	text, reference := t.With, strings.TrimSpace(c.Reference)
	if reference == "" {
		text = t.Without
	}
	return strings.NewReplacer(
		"{instruction}", strings.TrimSpace(c.Instruction), "{input}", or(c.Input, "No additional input."),
		"{reference}", reference, "{prediction}", or(c.Answer, "No response."),
	).Replace(text)
}

func (m *Model) reward(logits []float32) float64 {
	last := float64(logits[len(logits)-1])
	switch {
	case m.opt.Text == nil:
		return last
	case len(logits) == 1:
		return 1 / (1 + math.Exp(-last))
	}
	var sum float64
	for _, z := range logits {
		sum += math.Exp(float64(z) - last)
	}
	return 1 / sum
}
