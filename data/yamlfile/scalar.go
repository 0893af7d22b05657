package yamlfile

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// PyYAML's integer rule, and the union of its float rule with OmegaConf's wider one.
var (
	intRule   = regexp.MustCompile(`^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	floatRule = regexp.MustCompile(`^(?:` +
		`[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?` + // PyYAML
		`|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?` +
		`|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*` +
		`|[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?` + // OmegaConf: the exponent's sign and the point are optional
		`|[-+]?[0-9]+(?:_[0-9]+)*[eE][-+]?[0-9]+` +
		`|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
)

// longestNumber is how many characters a number may have, Python's own limit: a longer one is a
// string.
const longestNumber = 4300

// plain converts an unquoted, untagged scalar.
func plain(s string) (Value, error) {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return Value{Kind: Null}, nil
	case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON":
		return Value{Kind: Bool, Bool: true}, nil
	case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF":
		return Value{Kind: Bool}, nil
	case "=", "<<":
		return Value{}, fmt.Errorf("plain %q has a special meaning in YAML: quote it", s)
	}
	switch {
	case len(s) > longestNumber:
	case intRule.MatchString(s):
		return parseInt(s)
	case floatRule.MatchString(s):
		return parseFloat(s)
	}
	return Value{Kind: String, Str: s}, nil
}

// parseInt reads what intRule matches: binary, octal (leading 0), hexadecimal, decimal
// or base 60, with underscores anywhere.
func parseInt(s string) (Value, error) {
	t := strings.ReplaceAll(s, "_", "")
	negative := strings.HasPrefix(t, "-")
	t = strings.TrimLeft(t, "+-")
	n := new(big.Int)
	ok := true
	switch {
	case strings.Contains(t, ":"):
		for part := range strings.SplitSeq(t, ":") {
			digit, good := new(big.Int).SetString(part, 10)
			if ok = ok && good; ok {
				n.Mul(n, big.NewInt(60)).Add(n, digit)
			}
		}
	case strings.HasPrefix(t, "0b"):
		_, ok = n.SetString(t[2:], 2)
	case strings.HasPrefix(t, "0x"):
		_, ok = n.SetString(t[2:], 16)
	case len(t) > 1 && t[0] == '0':
		_, ok = n.SetString(t[1:], 8)
	default:
		_, ok = n.SetString(t, 10)
	}
	if !ok {
		return Value{}, fmt.Errorf("cannot read '%s' as an integer: quote it if it is text", s)
	}
	if negative {
		n.Neg(n)
	}
	return Value{Kind: Int, integer: n}, nil
}

// parseFloat reads what floatRule matches.
func parseFloat(s string) (Value, error) {
	t := strings.ToLower(strings.ReplaceAll(s, "_", ""))
	sign := 1.0
	if strings.HasPrefix(t, "-") {
		sign = -1
	}
	t = strings.TrimLeft(t, "+-")
	var f float64
	var err error
	switch {
	case t == ".inf":
		f = math.Inf(1)
	case t == ".nan":
		f = math.NaN()
	case strings.Contains(t, ":"):
		for part := range strings.SplitSeq(t, ":") {
			var digit float64
			if digit, err = strconv.ParseFloat(part, 64); err != nil {
				break
			}
			f = f*60 + digit
		}
	default:
		f, err = strconv.ParseFloat(t, 64)
		if math.IsInf(f, 1) { // Python overflows to inf without an error
			err = nil
		}
	}
	if err != nil {
		return Value{}, fmt.Errorf("cannot read '%s' as a number: quote it if it is text", s)
	}
	return Value{Kind: Float, Float: sign * f}, nil
}
