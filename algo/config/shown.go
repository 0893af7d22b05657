package config

import (
	"encoding/json"
	"fmt"
	"strings"

	"dataflex.dev/dataflex/data/display"
)

// Shown lists the keys of the file and the overrides with their values as text, in order,
// for people to read: secrets are masked.
func (c *Config) Shown() (out [][2]string) {
	for _, e := range c.root.Entries() {
		text, isText := e.Value.Any().(string)
		if !isText {
			raw, err := json.Marshal(e.Value.Any())
			if err != nil { // NaN and infinities
				raw = fmt.Append(nil, e.Value.Any())
			}
			text = string(raw)
		}
		out = append(out, [2]string{e.Key, masked(e.Key, text)})
	}
	return out
}

// masked is a key's value with secrets masked; the key helps to recognise them.
func masked(key, text string) string {
	before := key + ": "
	return strings.TrimPrefix(display.Mask(before+text), before)
}
