package template

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/pyjson"
)

// Tokenizer is the part of a tokenizer that a template needs; *tokenizer.Tokenizer implements
// it.
type Tokenizer interface {
	Append(dst []int32, s string) []int32
	ID(token string) (int32, bool)
	BOS() (token string, id int32, ok bool)
	EOS() (token string, id int32, ok bool)
	Unknown() (token string, id int32, ok bool)
}

// Element is a piece of a rendered turn, tokenised on its own: text, a token of the vocabulary,
// or the tokenizer's "bos" or "eos".
type Element struct {
	Text    string
	Token   string
	Special string
}

// Turn is a prompt and its answer. The first turn's prompt includes the prefix and the system
// text.
type Turn struct {
	Source, Target []Element
}

// Pair is a Turn as ids.
type Pair struct {
	Source, Target []int32
}

// Encode returns the turns of s as ids. The error says what in the row's tools or messages
// cannot be formatted.
func (t *Template) Encode(tok Tokenizer, s *data.Sample) ([]Pair, error) {
	return t.encode(tok, s, t.Render)
}

// EncodeLast is Encode for training on the last answer alone (mask_history): a reasoning
// template may leave out the thoughts of the answers before it, as it does when it generates.
func (t *Template) EncodeLast(tok Tokenizer, s *data.Sample) ([]Pair, error) {
	if t.kind == reasoning && t.forgets {
		return t.encode(tok, s, t.renderLast)
	}
	return t.encode(tok, s, t.Render)
}

func (t *Template) encode(tok Tokenizer, s *data.Sample, render func(messages []data.Message, system, tools string) ([]Turn, error)) ([]Pair, error) {
	messages := make([]data.Message, 0, len(s.Prompt)+len(s.Response))
	messages = append(append(messages, s.Prompt...), s.Response...)
	turns, err := render(messages, s.System, s.Tools)
	if err != nil {
		return nil, err
	}
	pairs := make([]Pair, len(turns))
	for i, turn := range turns {
		if pairs[i].Source, err = t.ids(tok, turn.Source); err != nil {
			return nil, err
		}
		if pairs[i].Target, err = t.ids(tok, turn.Target); err != nil {
			return nil, err
		}
	}
	return pairs, nil
}

// EncodeOne returns everything before the last answer as one prompt, and the answer: generation
// starts from that prompt. A reasoning template removes the thoughts from earlier answers, but
// for preserve_thinking.
func (t *Template) EncodeOne(tok Tokenizer, messages []data.Message, system, tools string) (Pair, error) {
	turn, err := t.RenderOne(messages, system, tools)
	if err != nil {
		return Pair{}, err
	}
	source, err := t.ids(tok, turn.Source)
	if err != nil {
		return Pair{}, err
	}
	target, err := t.ids(tok, turn.Target)
	return Pair{source, target}, err
}

func (t *Template) ids(tok Tokenizer, elements []Element) ([]int32, error) {
	text := 0
	for _, e := range elements {
		text += len(e.Text)
	}
	ids := make([]int32, 0, text/3+len(elements)) // a token is rarely shorter than 3 bytes
	for _, e := range elements {
		switch {
		case e.Text != "":
			ids = tok.Append(ids, e.Text)
		case e.Special == "bos":
			if _, id, ok := tok.BOS(); ok {
				ids = append(ids, id)
			}
		case e.Special == "eos":
			if _, id, ok := tok.EOS(); ok {
				ids = append(ids, id)
			}
		case e.Token != "":
			id, ok := tok.ID(e.Token)
			if !ok {
				_, id, ok = tok.Unknown()
			}
			if !ok {
				return nil, fmt.Errorf("template %s: the tokenizer has no token %q", t.name, e.Token)
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Render returns the turns as text and tokens. messages are alternately a
// prompt (user or observation) and an answer (assistant or function).
func (t *Template) Render(messages []data.Message, system, tools string) ([]Turn, error) {
	if len(messages)%2 != 0 {
		return nil, fmt.Errorf("template %s: %d messages; want alternating prompts and answers", t.name, len(messages))
	}
	strip := t.kind == reasoning && t.thinking != nil && !*t.thinking
	turns := make([]Turn, len(messages)/2)
	for i := range turns {
		answer := messages[2*i+1]
		if strip {
			answer.Content = t.withoutThought(answer.Content)
		}
		if err := t.render(&turns[i], 2*i, messages[2*i], answer, system, tools); err != nil {
			return nil, err
		}
	}
	return turns, nil
}

// renderLast is Render where only the last answer has a thought, or an empty one; with
// preserve_thinking the others keep those that they have.
func (t *Template) renderLast(messages []data.Message, system, tools string) ([]Turn, error) {
	if len(messages)%2 != 0 || len(messages) == 0 {
		return nil, fmt.Errorf("template %s: %d messages; want alternating prompts and answers", t.name, len(messages))
	}
	turns := make([]Turn, len(messages)/2)
	last := len(turns) - 1
	for i := range turns {
		answer, render := messages[2*i+1], t.renderBare
		strip := !t.preserve
		if i == last {
			render, strip = t.render, t.thinking != nil && !*t.thinking
		}
		if t.kind == reasoning && strip {
			answer.Content = t.withoutThought(answer.Content)
		}
		if err := render(&turns[i], 2*i, messages[2*i], answer, system, tools); err != nil {
			return nil, err
		}
	}
	return turns, nil
}

// RenderOne is EncodeOne as text and tokens.
func (t *Template) RenderOne(messages []data.Message, system, tools string) (Turn, error) {
	turns, err := t.renderLast(messages, system, tools)
	if err != nil {
		return Turn{}, err
	}
	var all Turn
	last := len(turns) - 1
	for _, turn := range turns[:last] {
		all.Source = append(append(all.Source, turn.Source...), turn.Target...)
	}
	all.Source, all.Target = append(all.Source, turns[last].Source...), turns[last].Target
	return all, nil
}

// render formats messages i and i+1, with an empty thought where one belongs.
func (t *Template) render(turn *Turn, i int, prompt, answer data.Message, system, tools string) error {
	if err := t.renderBare(turn, i, prompt, answer, system, tools); err != nil {
		return err
	}
	if t.kind != reasoning || t.hasThought(answer.Content) {
		return nil
	}
	empty := Element{Text: t.emptyThought}
	if t.thinking != nil && *t.thinking {
		turn.Target = append([]Element{empty}, turn.Target...)
	} else {
		turn.Source = append(turn.Source, empty)
	}
	return nil
}

func (t *Template) renderBare(turn *Turn, i int, prompt, answer data.Message, system, tools string) error {
	head := ""
	if i == 0 {
		turn.Source = appendSlots(turn.Source, t.prefix, "", nil)
		if system == "" {
			system = t.defaultSystem
		}
		if system != "" || tools != "" {
			text, err := t.toolText(tools)
			if err != nil {
				return fmt.Errorf("template %s: tools: %w", t.name, err)
			}
			if t.trimTools && system == "" {
				text = strings.TrimLeft(text, "\n")
			}
			block := appendSlots(nil, t.system, system+text, nil)
			if t.kind == inFirst && len(block) > 0 {
				head = block[0].Text
			} else {
				turn.Source = append(turn.Source, block...)
			}
		}
	}
	var err error
	if turn.Source, err = t.message(turn.Source, i, prompt, head); err != nil {
		return err
	}
	turn.Target, err = t.message(turn.Target, i+1, answer, "")
	return err
}

// message appends message i; head is put before a user's text.
func (t *Template) message(dst []Element, i int, m data.Message, head string) ([]Element, error) {
	switch m.Role {
	case data.User:
		var turn *int
		if t.kind != inFirst {
			n := i / 2
			turn = &n
		}
		return appendSlots(dst, t.user, head+m.Content, turn), nil
	case data.Assistant:
		return appendSlots(dst, t.assistant, m.Content, nil), nil
	case data.Observation:
		return appendSlots(dst, t.observation, m.Content, nil), nil
	case data.Function:
		text, err := t.functionText(m.Content)
		if err != nil {
			return nil, fmt.Errorf("template %s: message %d: %w", t.name, i, err)
		}
		return appendSlots(dst, t.function, text, nil), nil
	}
	return nil, fmt.Errorf("template %s: message %d: unexpected role %q", t.name, i, m.Role)
}

// appendSlots fills in slots. Only the first {{content}} and {{idx}} of a slot are replaced,
// the latter even where it was part of the content.
func appendSlots(dst []Element, slots []slot, text string, turn *int) []Element {
	for _, s := range slots {
		var e Element
		switch {
		case s == bos:
			e.Special = "bos"
		case s == eos:
			e.Special = "eos"
		case strings.HasPrefix(string(s), tokenMark):
			e.Token = string(s[len(tokenMark):])
		default:
			e.Text = strings.Replace(string(s), content, text, 1)
			if turn != nil {
				e.Text = strings.Replace(e.Text, index, strconv.Itoa(*turn), 1)
			}
			if e.Text == "" {
				continue
			}
		}
		dst = append(dst, e)
	}
	return dst
}

// hasThought reports whether an answer contains one of the marks of a thought.
func (t *Template) hasThought(answer string) bool {
	return strings.Contains(answer, strings.TrimSpace(t.thought[0])) ||
		strings.Contains(answer, strings.TrimSpace(t.thought[1]))
}

// withoutThought removes every complete thought from an answer.
func (t *Template) withoutThought(answer string) string {
	return strings.TrimLeft(between(t.thought[0], t.thought[1]).ReplaceAllLiteralString(answer, ""), "\n")
}

// between matches from before to the next after, over lines.
func between(before, after string) *regexp.Regexp {
	return regexp.MustCompile("(?s)" + regexp.QuoteMeta(before) + "(.*?)" + regexp.QuoteMeta(after))
}

// functionText formats a function message: a JSON call or list of calls, possibly after a
// thought or between the template's marks of a call.
func (t *Template) functionText(message string) (string, error) {
	calls, around := message, ""
	if t.kind != inFirst {
		if m := between(t.toolCall[0], t.toolCall[1]).FindStringSubmatch(message); m != nil {
			calls, around = m[1], strings.ReplaceAll(message, m[0], "")
		} else if m := between(t.thought[0], t.thought[1]).FindString(message); m != "" {
			calls, around = strings.ReplaceAll(message, m, ""), m
		}
	}
	parsed, err := parseCalls(calls)
	if err != nil {
		return "", err
	}
	text, err := toolFormats[t.toolFormat].function(parsed)
	return around + text, err
}

// toolText describes tools, a JSON list, for the system text.
func (t *Template) toolText(tools string) (string, error) {
	if tools == "" {
		return "", nil
	}
	if t.tools != "" {
		return strings.Replace(string(t.tools), content, tools, 1), nil
	}
	v, err := pyjson.Decode([]byte(tools))
	if err != nil {
		return "", fmt.Errorf("invalid JSON: %w: %s", err, clip(tools))
	}
	items, ok := v.([]any)
	if !ok {
		return "", errors.New("want a JSON list: " + clip(tools))
	}
	if len(items) == 0 {
		return "", nil
	}
	return toolFormats[t.toolFormat].tools(items)
}

func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
