package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Shown is the file's keys and the overrides' with their values as text, in order, for
// people to read: secrets are masked.
func (c *Config) Shown() (out [][2]string) {
	for _, e := range c.root.Entries() {
		text, isText := e.Value.Any().(string)
		if !isText {
			raw, err := json.Marshal(masked(e.Key, e.Value.Any()))
			if err != nil { // NaN and infinities
				raw = fmt.Append(nil, e.Value.Any())
			}
			text = string(raw)
		}
		out = append(out, [2]string{e.Key, fmt.Sprint(masked(e.Key, text))})
	}
	return out
}

const mask = "(not shown)"

// masked is a value without what is secret in it: that of a key that names one, and
// passwords in addresses.
func masked(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = masked(k, x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = masked(key, x)
		}
		return out
	case string:
		if v != "" && secret(key) {
			return mask
		}
		if u, err := url.Parse(v); err == nil && u.User != nil {
			if _, has := u.User.Password(); has {
				u.User = url.User(u.User.Username())
				return u.String()
			}
		}
	}
	return v
}

// secrets finds keys that name a secret, in YAML, JSON and command lines.
var secrets = regexp.MustCompile(`(?i)([\w-]*(?:token|api[_-]?key|secret|password|passwd|credentials?|access[_-]key|private[_-]key)["']?\s*[:= ]\s*)("[^"]*"|'[^']*'|[^\s,}"']+)`)

// MaskText is a text without the values of keys that name a secret.
func MaskText(s string) string { return secrets.ReplaceAllString(s, "${1}"+mask) }

// secret says whether a key's name is that of a secret: hub_token, api_key, not
// add_tokens or max_new_tokens.
func secret(key string) bool {
	key = strings.ToLower(key)
	for _, end := range []string{"token", "apikey", "api_key", "secret", "password", "passwd", "credential", "credentials", "access_key", "private_key"} {
		if strings.HasSuffix(key, end) {
			return true
		}
	}
	return false
}
