package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"dataflex.dev/dataflex/data"
)

// sample converts a row according to the entry's formatting (LLaMA-Factory data/converter.py).
// Rows that upstream skips with a warning, and rows with a null on which it crashes, are
// returned as broken samples; other faults as the sample's Fault.
func (r *record) sample() data.Sample {
	var s data.Sample
	var err error
	switch r.attr.format {
	case "alpaca":
		s, err = r.alpaca()
	case "sharegpt":
		s, err = r.sharegpt()
	default:
		s, err = r.openai()
	}
	var broken *brokenError
	if errors.As(err, &broken) {
		s, err = data.Sample{Broken: broken.why}, nil
	}
	if err == nil {
		s.Subtask, err = r.subtask()
	}
	if err == nil {
		s.RowWeight, err = r.weight()
	}
	if err == nil {
		err = r.noMedia()
	}
	if err != nil {
		s = data.Sample{Fault: err}
	}
	s.ID = data.ID{Dataset: r.attr.name, Row: r.base + r.row.number}
	return s
}

// noMedia refuses a row with an image, a video or audio: only text is supported.
func (r *record) noMedia() error {
	for _, name := range r.attr.media {
		c := r.get(name)
		if empty := c.null() || c.string() == "" && c.kind == '"' || c.kind == '[' && len(bytes.TrimSpace(c.raw[1:len(c.raw)-1])) == 0; !empty {
			return r.errorf("column '%s' holds an image, a video or a sound, and only text is supported: take such rows out, or remove the column from \"columns\" of %s in %s to train on the text alone",
				name, r.attr.name, r.attr.info)
		}
	}
	return nil
}

// brokenError ends the conversion of a row that is then dropped; other errors stop the run.
type brokenError struct{ why string }

func (e *brokenError) Error() string { return e.why }

// broken is the reason for which a row is dropped: "kind: detail".
func broken(kind, format string, args ...any) error {
	return &brokenError{kind + ": " + fmt.Sprintf(format, args...)}
}

// The kinds of broken rows.
const (
	nullValue    = "null value"
	roleOrder    = "invalid role order"
	messageCount = "invalid message count"
)

// alpaca: history pairs, then the non-empty ones of instruction and input, joined by a newline;
// the output is the answer. An output that is not a string leaves the answer empty, which
// pre-training accepts.
func (r *record) alpaca() (data.Sample, error) {
	var s data.Sample
	a := r.attr
	if err := r.history(&s); err != nil {
		return s, err
	}
	prompt, err := r.text(a.prompt)
	if err != nil {
		return s, err
	}
	query, err := r.text(a.query)
	if err != nil {
		return s, err
	}
	if prompt != "" && query != "" {
		prompt += "\n"
	}
	s.Prompt = append(s.Prompt, data.Message{Role: data.User, Content: prompt + query})
	s.Query = query
	if answer := r.get(a.response); answer.kind == '"' {
		s.Response = []data.Message{{Role: data.Assistant, Content: answer.string()}}
	}
	if s.System, err = r.text(a.system); err != nil {
		return s, err
	}
	s.Tools, err = r.tools()
	return s, err
}

// history prepends the earlier turns: a list of [question, answer]. Anything but a
// list counts as none.
func (r *record) history(s *data.Sample) error {
	c := r.get(r.attr.history)
	if c.kind != '[' {
		return nil
	}
	turn := 0
	return eachElement(c.raw, func(pair jsontext.Value) error {
		if pair.Kind() != '[' {
			return r.errorf("column '%s', turn %d is %s; [question, answer] is expected", r.attr.history, turn, kindName(pair.Kind()))
		}
		n := 0
		err := eachElement(pair, func(v jsontext.Value) error {
			role := [2]data.Role{data.User, data.Assistant}[n&1]
			n++
			switch v.Kind() {
			case 'n':
				return broken(nullValue, "column '%s', turn %d holds null", r.attr.history, turn)
			case '"':
				s.Prompt = append(s.Prompt, data.Message{Role: role, Content: unquote(v)})
				return nil
			}
			return r.errorf("column '%s', turn %d holds %s; strings are expected", r.attr.history, turn, kindName(v.Kind()))
		})
		if err == nil && n != 2 {
			err = r.errorf("column '%s', turn %d has %d entries; [question, answer] is expected", r.attr.history, turn, n)
		}
		turn++
		return err
	})
}

// tools returns the tools column: a JSON text. A list or object that is not quoted is
// serialised as Python's json.dumps does.
func (r *record) tools() (string, error) {
	c := r.get(r.attr.tools)
	if c.null() {
		return "", nil
	}
	switch c.kind {
	case '"':
		return c.string(), nil
	case '[', '{':
		return pythonJSON(c.raw), nil
	}
	return "", r.errorf("column '%s' is %s; a list of tools or a string with one is expected", r.attr.tools, kindName(c.kind))
}

// turn is a message before its role is resolved.
type turn struct {
	role    string
	content cell
	calls   jsontext.Value // tool_calls; nil if absent, null or empty
}

// turns reads the messages column.
func (r *record) turns() ([]turn, error) {
	a := r.attr
	c := r.get(a.messages)
	if c.null() {
		return nil, broken(nullValue, "column '%s' is null", a.messages)
	}
	if c.kind != '[' {
		return nil, r.errorf("column '%s' is %s; a list of messages is expected", a.messages, kindName(c.kind))
	}
	var out []turn
	err := eachElement(c.raw, func(v jsontext.Value) error {
		t, err := r.turn(v, len(out))
		out = append(out, t)
		return err
	})
	return out, err
}

// turn reads message number i.
func (r *record) turn(v jsontext.Value, i int) (turn, error) {
	a := r.attr
	var t turn
	if v.Kind() != '{' {
		return t, r.errorf("message %d of column '%s' is %s; an object is expected", i, a.messages, kindName(v.Kind()))
	}
	var role cell
	r.found.seen[seenMessage] = true
	err := eachMember(v, func(name []byte, v jsontext.Value) error {
		switch string(name) {
		case a.role:
			role = cell{kind: v.Kind(), raw: v}
			r.found.seen[seenRole] = true
		case a.content:
			t.content = cell{kind: v.Kind(), raw: v}
			r.found.seen[seenContent] = true
		case "tool_calls":
			if a.format == "openai" && v.Kind() == '[' && len(bytes.TrimSpace(v[1:len(v)-1])) > 0 {
				t.calls = v
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return t, err
	case role.null():
		return t, broken(nullValue, "message %d's '%s' is null", i, a.role)
	case role.kind != '"':
		return t, r.errorf("message %d's '%s' is %s; a string is expected", i, a.role, kindName(role.kind))
	case t.content.null() && t.calls == nil:
		return t, broken(nullValue, "message %d's '%s' is null", i, a.content)
	case t.content.kind != '"' && t.calls == nil:
		return t, r.errorf("message %d's '%s' is %s; a string is expected (messages made of parts are multimodal data or LLaMA-Factory v1's format)", i, a.content, kindName(t.content.kind))
	}
	t.role = role.string()
	return t, nil
}

// leadingSystem removes a system message from the front; without one the system column is used.
func (r *record) leadingSystem(turns []turn) (string, []turn, error) {
	if a := r.attr; a.systemTag != "" && len(turns) > 0 && turns[0].role == a.systemTag {
		return turns[0].content.string(), turns[1:], nil
	}
	system, err := r.text(r.attr.system)
	return system, turns, err
}

// sharegpt: a conversation in which user or observation alternates with assistant or function.
func (r *record) sharegpt() (data.Sample, error) {
	var s data.Sample
	turns, err := r.turns()
	if err != nil {
		return s, err
	}
	if s.System, turns, err = r.leadingSystem(turns); err != nil {
		return s, err
	}
	messages := make([]data.Message, len(turns))
	for i, t := range turns {
		messages[i] = data.Message{Role: r.attr.roleOf(t.role), Content: t.content.string()}
	}
	if s.Tools, err = r.tools(); err != nil {
		return s, err
	}
	return r.converse(s, messages, turns)
}

// roleOf reads a tag; "" for one the entry does not know.
func (a *attributes) roleOf(tag string) data.Role {
	switch tag {
	case "":
		return ""
	case a.user:
		return data.User
	case a.assistant:
		return data.Assistant
	case a.observation:
		return data.Observation
	case a.function:
		return data.Function
	case a.systemTag:
		return data.System
	}
	return ""
}

// converse checks the order of the roles and separates the last answer.
func (r *record) converse(s data.Sample, messages []data.Message, turns []turn) (data.Sample, error) {
	for i, m := range messages {
		asks := m.Role == data.User || m.Role == data.Observation
		answers := m.Role == data.Assistant || m.Role == data.Function
		if i%2 == 0 && !asks || i%2 == 1 && !answers {
			want := [2]string{"a user or observation", "an assistant or function"}[i%2]
			said := string(m.Role)
			if said == "" && i < len(turns) {
				said = "'" + turns[i].role + "' (which no tag names)"
			}
			return s, broken(roleOrder, "message %d is of role %s where %s is expected", i, said, want)
		}
	}
	if len(messages)%2 != 0 || len(messages) == 0 {
		return s, broken(messageCount, "%d messages; they must come in pairs of question and answer", len(messages))
	}
	last := len(messages) - 1
	s.Prompt, s.Response = messages[:last:last], messages[last:]
	return s, nil
}

// openai: as sharegpt, with tool calls as JSON, consecutive tool results merged, and upstream's
// "detailed thinking off" (an artefact of one dataset, which upstream applies to all). Tool
// results at the very end are dropped, as upstream.
func (r *record) openai() (data.Sample, error) {
	var s data.Sample
	turns, err := r.turns()
	if err != nil {
		return s, err
	}
	if s.System, turns, err = r.leadingSystem(turns); err != nil {
		return s, err
	}
	var messages []data.Message
	var results []string
	for i, t := range turns {
		m := data.Message{Role: r.attr.roleOf(t.role)}
		if t.calls != nil && (m.Role == data.Assistant || m.Role == data.Function) {
			m.Role = data.Function
			if m.Content, err = r.calls(t.calls, i); err != nil {
				return s, err
			}
		} else if t.content.kind == '"' {
			m.Content = t.content.string()
		}
		if m.Role == data.Observation {
			results = append(results, m.Content)
			continue
		}
		if m.Role == "" {
			return s, broken(roleOrder, "message %d is of role '%s', which no tag names", i, t.role)
		}
		if results != nil {
			messages = append(messages, data.Message{Role: data.Observation, Content: strings.Join(results, "\n</tool_response>\n<tool_response>\n")})
			results = nil
		}
		messages = append(messages, m)
	}
	if s.Tools, err = r.tools(); err != nil {
		return s, err
	}
	s.System = openaiSystem(s.System, s.Tools)
	return r.converse(s, messages, nil)
}

// calls returns the function objects of tool_calls as json.dumps serialises them.
func (r *record) calls(list jsontext.Value, message int) (string, error) {
	var out strings.Builder
	n := 0
	err := eachElement(list, func(call jsontext.Value) error {
		if call.Kind() != '{' {
			return r.errorf("message %d, tool_calls %d is %s; an object is expected", message, n, kindName(call.Kind()))
		}
		var function jsontext.Value
		err := eachMember(call, func(name []byte, v jsontext.Value) error {
			if string(name) == "function" {
				function = v
			}
			return nil
		})
		if err == nil && function == nil {
			err = r.errorf("message %d, tool_calls %d has no 'function'", message, n)
		}
		if err != nil {
			return err
		}
		if n > 0 {
			out.WriteString(", ")
		}
		out.WriteString(pythonJSON(function))
		n++
		return nil
	})
	return "[" + out.String() + "]", err
}

// openaiSystem rewrites the system message as upstream's OpenAI converter does.
func openaiSystem(system, tools string) string {
	const off = "detailed thinking off"
	switch {
	case system == "" && tools == "":
		return off
	case system == "":
		return ""
	case tools != "":
		return system + "\n"
	case strings.Contains(system, "detailed thinking on") || strings.Contains(system, off):
		return system
	}
	return system + "\n" + off
}
