// Package template formats conversations as the text that a model was tuned on: the templates
// of LLaMA-Factory 0.9.4, and those that 0.9.5 and its main branch (of August 2026) added, by
// the names that configs use.
//
// A template is a list of slots for each role. Every string slot is tokenised on its own, so
// that merges never cross a slot's boundary; text from the data is not escaped, so a special
// token in it becomes that token. Both are upstream's behaviour, and affect the ids.
package template

import (
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// slot is a piece of a template: text, possibly with {{content}} and {{idx}}, or, marked by its
// first byte, a single token.
type slot string

const (
	bos       slot = "\x00bos" // the tokenizer's BOS if it has one
	eos       slot = "\x00eos"
	tokenMark      = "\x01" // before the name of a vocabulary token
	content        = "{{content}}"
	index          = "{{idx}}" // number of the user's turn, from 0
)

// token is the slot of one vocabulary token.
func token(name string) slot { return slot(tokenMark + name) }

// kind is the set of rules that a template follows.
type kind uint8

const (
	plain     kind = iota
	reasoning      // answers have thoughts, empty ones where there are none
	inFirst        // the system text becomes part of the first user message
)

// Template is an entry of the table with the options of a run. The comments give the defaults.
type Template struct {
	name          string
	kind          kind
	prefix        []slot
	system        []slot    // default {{content}}
	user          []slot    // default {{content}}
	assistant     []slot    // default {{content}} and eos
	observation   []slot    // default the user's
	function      []slot    // default the assistant's
	toolFormat    string    // default "default"
	tools         slot      // if set, holds the data's own JSON of tools instead of a tool format's text
	trimTools     bool      // without a system text, the tools' text has no leading line breaks
	toolCall      [2]string // around the calls in a function message; default <tool_call> and </tool_call>
	defaultSystem string
	stopWords     []string
	thought       [2]string // default <think>\n and \n</think>\n\n
	emptyThought  string    // default both marks of a thought
	forgets       bool      // with mask_history, the thoughts of earlier answers are removed
	efficientEOS  bool
	replaceEOS    bool
	replaceJinja  bool
	thinking      *bool
	preserve      bool // generation keeps the thoughts of earlier answers
}

// Options are a config's changes to a template.
type Options struct {
	DefaultSystem *string // default_system; nil = the template's
	ToolFormat    string  // tool_format; "" = the template's
	// EnableThinking is enable_thinking of a reasoning template: true (LLaMA-Factory's default
	// for a missing key) trains an empty thought where an answer has none, nil (null) puts it
	// into the prompt, false also removes the thoughts in the data.
	EnableThinking *bool
	// PreserveThinking is preserve_thinking of a reasoning template: true keeps the thoughts of
	// earlier answers in the prompt of an answer, false removes them with mask_history, too. nil
	// is false, but for mask_history in the templates of LLaMA-Factory 0.9.4, which keep them there.
	PreserveThinking *bool
}

// Get returns the template called name, with enable_thinking true. The error
// for an unknown name lists the nearest ones.
func Get(name string) (*Template, error) {
	t, ok := table[name]
	if !ok {
		return nil, fmt.Errorf("template: %q does not exist%s", name, suggest(name))
	}
	on := true
	t.name, t.thinking = name, &on
	t.fillIn()
	return &t, nil
}

// Names lists the templates, sorted.
func Names() []string {
	names := make([]string, 0, len(table))
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func suggest(name string) string {
	var near []string
	for _, known := range Names() {
		if len(name) > 2 && (strings.HasPrefix(known, name) || strings.HasPrefix(name, known)) {
			near = append(near, known)
		}
	}
	if best, ok := yamlfile.Nearest(name, Names()); ok && !slices.Contains(near, best) {
		near = append([]string{best}, near...)
	}
	if len(near) == 0 {
		return fmt.Sprintf(" (there are %d, among them default, chatml, llama3, mistral, qwen, qwen3)", len(table))
	}
	return "; did you mean " + strings.Join(near[:min(len(near), 5)], ", ") + "?"
}

// fillIn sets the defaults of fields that the table leaves out.
func (t *Template) fillIn() {
	if t.system == nil {
		t.system = []slot{content}
	}
	if t.user == nil {
		t.user = []slot{content}
	}
	if t.assistant == nil {
		t.assistant = t.answer()
	}
	if t.observation == nil {
		t.observation = t.user
	}
	if t.function == nil {
		t.function = t.assistant
	}
	if t.toolFormat == "" {
		t.toolFormat = "default"
	}
	if t.thought == [2]string{} {
		t.thought = [2]string{"<think>\n", "\n</think>\n\n"}
	}
	if t.emptyThought == "" {
		t.emptyThought = t.thought[0] + t.thought[1]
	}
	if t.toolCall == [2]string{} {
		t.toolCall = [2]string{"<tool_call>", "</tool_call>"}
	}
}

// answer is the default of the assistant's slots.
func (t *Template) answer() []slot {
	if t.efficientEOS {
		return []slot{content}
	}
	return []slot{content, eos}
}

// With returns t with the options applied. An unknown tool format is an error.
func (t *Template) With(o Options) (*Template, error) {
	changed := *t
	if o.DefaultSystem != nil {
		changed.defaultSystem = *o.DefaultSystem
	}
	if o.ToolFormat != "" {
		if _, ok := toolFormats[o.ToolFormat]; !ok {
			return nil, fmt.Errorf("template: tool_format %q does not exist; known: %s", o.ToolFormat, strings.Join(toolFormatNames(), ", "))
		}
		// Upstream discards the template's own function slots here.
		changed.toolFormat, changed.function, changed.tools = o.ToolFormat, t.answer(), ""
	}
	changed.thinking = o.EnableThinking
	if o.PreserveThinking != nil {
		changed.preserve, changed.forgets = *o.PreserveThinking, !*o.PreserveThinking
	}
	return &changed, nil
}

// Name is the template's name in the table.
func (t *Template) Name() string { return t.name }

// Identity is everything that affects how t formats a conversation, as one line.
func (t *Template) Identity() string {
	thinking := "null"
	if t.thinking != nil {
		thinking = fmt.Sprint(*t.thinking)
	}
	c := *t
	c.thinking = nil
	return fmt.Sprintf("%q thinking %s", fmt.Sprintf("%+v", c), thinking)
}

// EfficientEOS reports that turns end without an EOS and the example with one.
func (t *Template) EfficientEOS() bool { return t.efficientEOS }

// StopWords are the texts other than the EOS that end an answer.
func (t *Template) StopWords() []string { return slices.Clone(t.stopWords) }

// DefaultSystem is the system text of conversations that have none.
func (t *Template) DefaultSystem() string { return t.defaultSystem }
