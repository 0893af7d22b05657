package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"dataflex.dev/dataflex/data/storage"
)

// maxBytes bounds a file, maxNodes the size to which aliases may expand a document, maxDepth
// its nesting.
const (
	maxBytes = 4 << 20
	maxNodes = 1 << 18
	maxDepth = 1000
)

// Load reads a YAML or JSON file whose top level is a map; an empty file is an empty map.
func Load(path string) (*Value, error) {
	data, err := storage.ReadInput(path, maxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the configuration: %w%s", err, beside(path))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	v, err := Parse(path, data)
	if err != nil { // YAML may be in UTF-16, if it begins with a byte order mark
		if encoding := storage.NotUTF8(path, data); encoding != nil {
			return nil, encoding
		}
	}
	return v, err
}

// beside names the file whose name is nearest to that of one that is not there.
func beside(path string) string {
	dir, name := filepath.Split(path)
	entries, err := storage.ReadDir(filepath.Clean(dir)) // "" is cleaned to .
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if near, ok := Nearest(name, names); ok {
		return ": did you mean " + dir + near + "?"
	}
	return ""
}

// Parse is Load on bytes; name is the file's name in positions.
func Parse(name string, data []byte) (*Value, error) {
	at := Position{File: name, lines: splitLines(data)}
	v, err := parse(at, data)
	if err != nil {
		return nil, err
	}
	switch v.Kind {
	case Map:
		return v, nil
	case Null:
		return &Value{Kind: Map, Pos: v.Pos}, nil
	}
	return nil, v.Pos.Errorf("expected key: value lines, got %s", v.Describe())
}

func splitLines(data []byte) []string {
	text := strings.TrimPrefix(string(data), "\ufeff")
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, "\r")
	}
	return lines
}

// parse reads one document of any kind. at is the file or override.
func parse(at Position, data []byte) (*Value, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return &Value{Kind: Null, Pos: at}, nil
	}
	if err != nil {
		return nil, syntaxError(at, data, err)
	}
	r := resolver{at: at}
	v, err := r.resolve(&doc, 0)
	if err != nil {
		return nil, err
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
		return v, nil
	case err != nil:
		return nil, syntaxError(at, data, err)
	}
	return nil, r.pos(&second).Errorf("a second document starts here: a configuration is one document")
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxError finds the line that a parser's error is about: the first one after the longest
// prefix of lines that parses. The parser itself often names the line where the surrounding
// construct began.
func syntaxError(at Position, data []byte, err error) error {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	if m == nil {
		return at.Errorf("not YAML: %w", err)
	}
	problem := strings.TrimPrefix(text, m[0])
	if at.Override == "" {
		at.Line, _ = strconv.Atoi(m[1])
		if n := lastGoodLine(at.lines); n >= 0 {
			at.Line = n + 1
		}
		at.Line = min(max(at.Line, 1), len(at.lines))
		line := at.lines[at.Line-1]
		blank := len(line) - len(strings.TrimLeft(line, " \t"))
		if at.Column = blank + 1; strings.Contains(line[:blank], "\t") {
			problem += " (YAML does not allow tabs as indentation)"
		}
	}
	return at.Errorf("not YAML: %s", problem)
}

// lastGoodLine is how many lines from the top parse on their own, -1 when the file is too long
// to try.
func lastGoodLine(lines []string) int {
	const most = 500
	if len(lines) > most {
		return -1
	}
	for n := len(lines) - 1; n > 0; n-- {
		var doc yaml.Node
		if yaml.Unmarshal([]byte(strings.Join(lines[:n], "\n")), &doc) == nil {
			return n
		}
	}
	return 0
}

type resolver struct {
	at    Position // file or override
	nodes int
}

func (r *resolver) pos(n *yaml.Node) Position {
	p := r.at
	if p.Override == "" {
		p.Line, p.Column = n.Line, n.Column
	}
	return p
}

func (r *resolver) resolve(n *yaml.Node, depth int) (*Value, error) {
	if r.nodes++; r.nodes > maxNodes {
		return nil, r.pos(n).Errorf("more than %d values: << and aliases expand this document too far", maxNodes)
	}
	if depth > maxDepth {
		return nil, r.pos(n).Errorf("nested deeper than %d levels", maxDepth)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return r.resolve(n.Content[0], depth+1)
	case yaml.AliasNode:
		return r.resolve(n.Alias, depth+1)
	case yaml.SequenceNode:
		if err := r.checkTag(n, "!!seq"); err != nil {
			return nil, err
		}
		v := &Value{Kind: List, Pos: r.pos(n), Items: make([]*Value, 0, len(n.Content))}
		for _, c := range n.Content {
			item, err := r.resolve(c, depth+1)
			if err != nil {
				return nil, err
			}
			v.Items = append(v.Items, item)
		}
		return v, nil
	case yaml.MappingNode:
		return r.mapping(n, depth)
	}
	return r.scalar(n)
}

func (r *resolver) checkTag(n *yaml.Node, allowed string) error {
	if n.Style&yaml.TaggedStyle != 0 && n.Tag != allowed && n.Tag != "!" {
		return r.pos(n).Errorf("tag %s is not supported here", n.Tag)
	}
	return nil
}

// mapping resolves a map. Entries merged by << come first, and the map's own override them.
func (r *resolver) mapping(n *yaml.Node, depth int) (*Value, error) {
	if err := r.checkTag(n, "!!map"); err != nil {
		return nil, err
	}
	own := &Value{Kind: Map, Pos: r.pos(n)}
	merged := &Value{Kind: Map, Pos: own.Pos}
	place := map[string]int{} // in merged, of its keys
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return nil, r.pos(key).Errorf("a key must be a plain word, not a list or map")
		}
		v, err := r.resolve(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		at := r.pos(n.Content[i])
		if key.Value == "<<" && key.Style == 0 {
			if err := r.mergeKey(merged, place, v); err != nil {
				return nil, err
			}
			continue
		}
		if seen[key.Value] {
			first, _ := own.Get(key.Value)
			return nil, at.Errorf("duplicate key %q: already given at %s", key.Value, first.Pos)
		}
		seen[key.Value] = true
		own.entries = append(own.entries, Entry{key.Value, at, v})
	}
	if len(merged.entries) == 0 {
		return own, nil
	}
	for _, e := range own.entries {
		if i, ok := place[e.Key]; ok {
			merged.entries[i] = e
		} else {
			merged.entries = append(merged.entries, e)
		}
	}
	return merged, nil
}

// mergeKey is YAML 1.1's <<: the entries of a map, or of a list of maps, of which the first
// takes precedence.
func (r *resolver) mergeKey(into *Value, place map[string]int, v *Value) error {
	sources := []*Value{v}
	if v.Kind == List {
		sources = v.Items
	}
	for _, s := range sources {
		if s.Kind != Map {
			return v.Pos.Errorf("<< expects a map or a list of maps, got %s", s.Describe())
		}
		if r.nodes += len(s.entries); r.nodes > maxNodes {
			return v.Pos.Errorf("more than %d values: << and aliases expand this document too far", maxNodes)
		}
		for _, e := range s.entries {
			if _, taken := place[e.Key]; !taken {
				place[e.Key] = len(into.entries)
				into.entries = append(into.entries, e)
			}
		}
	}
	return nil
}

func (r *resolver) scalar(n *yaml.Node) (*Value, error) {
	at := r.pos(n)
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	v := Value{Kind: String, Str: n.Value}
	var err error
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		v, err = tagged(n.Tag, n.Value)
	case n.Style&quoted == 0:
		v, err = plain(n.Value)
	}
	if err != nil {
		return nil, at.Errorf("%w", err)
	}
	v.Pos, v.Text = at, n.Value
	return &v, nil
}

// tagged reads a scalar under an explicit tag.
func tagged(tag, s string) (Value, error) {
	switch tag {
	case "!!str", "!":
		return Value{Kind: String, Str: s}, nil
	case "!!null":
		return Value{Kind: Null}, nil
	case "!!int":
		if len(s) <= longestNumber && intRule.MatchString(s) {
			return parseInt(s)
		}
	case "!!float":
		if len(s) > longestNumber {
			break
		}
		if intRule.MatchString(s) {
			v, err := parseInt(s)
			if err != nil {
				return v, err
			}
			f, _ := v.Number()
			return Value{Kind: Float, Float: f}, nil
		}
		if floatRule.MatchString(s) {
			return parseFloat(s)
		}
	case "!!bool":
		if v, err := plain(s); err == nil && v.Kind == Bool {
			return v, nil
		}
	default:
		return Value{}, fmt.Errorf("tag %s is not supported here", tag)
	}
	return Value{}, fmt.Errorf("'%s' is not a %s", shorten(s), strings.TrimPrefix(tag, "!!"))
}
