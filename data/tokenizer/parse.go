package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// node is an object of a JSON file with its path, read with the parser's sticky error: the
// first fault is the one reported.
type node struct {
	p      *parser
	path   string
	kind   string
	fields map[string]json.RawMessage
}

type parser struct {
	file string
	err  error
}

// fail reports a fault at path, unless there was one before.
func (p *parser) fail(path, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("tokenizer: %s: %s: %s", p.file, path, fmt.Sprintf(format, args...))
	}
}

// unsupported reports a value that this package does not implement.
func (p *parser) unsupported(path string, value any, known string) {
	text, _ := json.Marshal(value)
	p.fail(path, "%s is not supported; %s", clip(string(text)), known)
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// isNull reports whether raw is absent or null.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// object reads raw as an object; its "type" becomes the node's kind.
func (p *parser) object(raw json.RawMessage, path string) node {
	n := node{p: p, path: path}
	if err := json.Unmarshal(raw, &n.fields); err != nil || n.fields == nil {
		p.fail(path, "want an object, got %s", clip(string(raw)))
		return n
	}
	n.kind = get(n, "type", "")
	return n
}

// get reads a field, or returns fallback where it is absent or null.
func get[T any](n node, name string, fallback T) T {
	raw := n.fields[name]
	if isNull(raw) {
		return fallback
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		n.p.fail(n.path+"."+name, "want %T, got %s", v, clip(string(raw)))
	}
	return v
}

// only refuses fields that are not named: a field that is not read may matter.
func (n node) only(names ...string) {
	for name := range n.fields {
		if name != "type" && !slices.Contains(names, name) {
			n.p.unsupported(n.path+"."+name, n.fields[name], "known fields: "+strings.Join(names, ", "))
		}
	}
}

// list reads a field as a list of objects.
func (n node) list(name string) []node {
	items := get(n, name, []json.RawMessage(nil))
	nodes := make([]node, 0, len(items))
	for i, item := range items {
		nodes = append(nodes, n.p.object(item, fmt.Sprintf("%s.%s[%d]", n.path, name, i)))
	}
	return nodes
}

// pattern reads {"String": s} or {"Regex": s}.
func (n node) pattern() (kind, text string) {
	sub := n.p.object(n.fields["pattern"], n.path+".pattern")
	sub.only("String", "Regex")
	if text := get(sub, "Regex", ""); text != "" {
		return "Regex", text
	}
	return "String", get(sub, "String", "")
}
