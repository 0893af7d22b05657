package yamlfile

import (
	"fmt"
	"regexp"
	"strings"
)

// Overrides reads a command line's key=value arguments as OmegaConf's dotlist: the value
// goes through the same loader as a file, a.b=1 and a[b]=1 nest, a key without = is null,
// a later argument wins over an earlier one. The result is a map to Merge over a file.
func Overrides(args []string) (*Value, error) {
	root := &Value{Kind: Map}
	for _, arg := range args {
		key, text, hasValue := strings.Cut(arg, "=")
		at := Position{Override: arg}
		if arg == "" {
			return nil, fmt.Errorf("an override is empty: expected key=value")
		}
		if strings.TrimSpace(key) == "" {
			return nil, at.Errorf("there is no key before '='")
		}
		value := &Value{Kind: Null, Pos: at}
		if hasValue {
			var err error
			if value, err = parse(at, []byte(text)); err != nil {
				return nil, err
			}
		}
		path := splitKey(key)
		for i := len(path) - 1; i >= 0; i-- {
			value = &Value{Kind: Map, Pos: at, entries: []Entry{{path[i], at, value}}}
		}
		root.Merge(value)
	}
	return root, nil
}

var (
	keyHead = regexp.MustCompile(`^\.*[^.[]*`)
	keyRest = regexp.MustCompile(`\.([^.[]*)|\[(.*?)\]`)
)

// splitKey is OmegaConf's split_key: "a.b" and "a[b]" are both a, b.
func splitKey(key string) []string {
	head := keyHead.FindString(key)
	tokens := strings.Split(head, ".")
	if len(head) == len(key) {
		return tokens
	}
	if key[len(head)] == '[' && tokens[len(tokens)-1] == "" {
		tokens = tokens[:len(tokens)-1]
	}
	for _, m := range keyRest.FindAllStringSubmatch(key[len(head):], -1) {
		tokens = append(tokens, m[1]+m[2])
	}
	return tokens
}
