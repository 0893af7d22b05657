// Package display makes text that comes from data, configurations, programs and judges safe to
// show and store: terminal control characters are escaped, secrets are masked.
package display

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable writes control characters, characters that change the direction of text, and bytes
// that are not UTF-8 as Go's escapes, \x1b. Line ends and tabs are unchanged.
func Printable(s string) string {
	if strings.IndexFunc(s, hidden) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\ufffd"):
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[i]), 16))
		case hidden(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hidden reports whether a character is invisible or misleading. The two joiners are excepted,
// being part of ordinary words.
func hidden(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r != '\n' && r != '\t' && r != nonJoiner && r != joiner && !unicode.IsGraphic(r)
}

// mask replaces a secret.
const mask = "***"

// Keys and variables whose value is a secret; not every "token" is one.
const secretName = `(?:[\w-]*(?:api[_-]?key|secret|passw(?:or)?d|passphrase)|(?:hf|hub|access|auth|hf_hub|ms_hub|om_hub|push_to_hub|huggingface(?:_hub)?|wandb|swanlab|refresh|id|session)_?token|` +
	`swanlab_api_key|wandb_key|authorization)`

var secrets = []struct {
	found *regexp.Regexp
	as    string
}{
	{regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://[^\s/@:'"]*:)[^\s/'"]+@`), "${1}" + mask + "@"},                          // a URL's password
	{regexp.MustCompile(`(?i)([?&](?:api[_-]?key|key|token|access_token|sig|signature|password)=)[^&\s'"]+`), "${1}" + mask}, // or its parameters
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "${1} " + mask},
	{regexp.MustCompile(`\b(sk-|sk_live_|rk_live_|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abprs]-|api_org_)[A-Za-z0-9_-]{8,}`), "${1}" + mask},
	{regexp.MustCompile(`\b(hf_)[A-Za-z0-9]{10,}`), "${1}" + mask},
	{regexp.MustCompile(`\b(AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{35}`), mask},
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+`), mask}, // a JSON web token
	{regexp.MustCompile(`(?i)\b(` + secretName + `["']?\s*[:=]\s*)(["']?)[^\s"',;}\]&]{3,}`), "${1}${2}" + mask},
}

// Mask replaces what is recognised as a secret, an API key, an access token, a URL's password,
// by ***; the kind of secret stays readable.
func Mask(s string) string {
	for _, m := range secrets {
		s = m.found.ReplaceAllString(s, m.as)
	}
	return s
}

// Text is s printable and without secrets.
func Text(s string) string { return Mask(Printable(s)) }
