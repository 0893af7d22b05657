package jinja

import (
	"html"
	"math"
	"math/bits"
	"strings"
)

// binary is left op right.
func binary(op string, left, right any) any {
	refuse(left)
	refuse(right)
	x, xn := number(left)
	y, yn := number(right)
	switch {
	case xn && yn:
		return arithmetic(op, x, y)
	case op == "+":
		if v := add(left, right); v != nil {
			return v
		}
	case op == "*" && xn:
		return repeat(right, x)
	case op == "*" && yn:
		return repeat(left, y)
	case op == "%":
		if s, ok := asString(left); ok {
			return percent(s, right)
		}
	}
	raise("TypeError", "unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(left), typeName(right))
	return nil
}

// add concatenates two texts or two lists; nil where that is not possible.
func add(left, right any) any {
	if a, ok := left.(*list); ok {
		if b, ok := right.(*list); ok && a.tuple == b.tuple && a.view == "" && b.view == "" {
			limit(16 * (len(a.items) + len(b.items)))
			return &list{items: append(append(make([]any, 0, len(a.items)+len(b.items)), a.items...), b.items...), tuple: a.tuple}
		}
		return nil
	}
	a, aText := asString(left)
	b, bText := asString(right)
	if !aText || !bText {
		return nil
	}
	limit(len(a) + len(b))
	_, aSafe := left.(safe)
	_, bSafe := right.(safe)
	switch {
	case aSafe && !bSafe:
		return safe(a + escape(b))
	case bSafe && !aSafe:
		return safe(escape(a) + b)
	case aSafe:
		return safe(a + b)
	}
	return a + b
}

// escape is markupsafe's.
func escape(s string) string {
	return strings.ReplaceAll(html.EscapeString(s), "&#34;", "&#34;")
}

func repeat(v, times any) any {
	n, ok := times.(int64)
	if !ok {
		raise("TypeError", "can't multiply sequence by non-int of type 'float'")
	}
	n = max(n, 0)
	if s, ok := asString(v); ok {
		if hi, lo := bits.Mul64(uint64(len(s)), uint64(n)); hi > 0 || lo > mostText {
			limit(mostText + 1)
		}
		return strings.Repeat(s, int(n))
	}
	l, ok := v.(*list)
	if !ok || l.view != "" {
		raise("TypeError", "unsupported operand type(s) for *: '%s' and 'int'", typeName(v))
	}
	if hi, lo := bits.Mul64(uint64(16*len(l.items)), uint64(n)); hi > 0 || lo > mostText {
		limit(mostText + 1)
	}
	out := &list{tuple: l.tuple}
	for range n {
		out.items = append(out.items, l.items...)
	}
	return out
}

func arithmetic(op string, x, y any) any {
	i, iw := x.(int64)
	j, jw := y.(int64)
	if iw && jw {
		return integers(op, i, j)
	}
	a, b := asFloat(x), asFloat(y)
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "**":
		return math.Pow(a, b)
	}
	if b == 0 {
		raise("ZeroDivisionError", "float division by zero")
	}
	switch op {
	case "/":
		return a / b
	case "//":
		return math.Floor(a / b)
	}
	return a - b*math.Floor(a/b)
}

// integers computes with integers; a result beyond int64, which Python would represent, is an
// error.
func integers(op string, i, j int64) any {
	switch op {
	case "+":
		if s := i + j; (s > i) == (j > 0) {
			return s
		}
	case "-":
		if s := i - j; (s < i) == (j > 0) {
			return s
		}
	case "*":
		if i == 0 || j == 0 {
			return int64(0)
		}
		if p := i * j; p/j == i && !(i == -1 && j == math.MinInt64) && !(j == -1 && i == math.MinInt64) {
			return p
		}
	case "**":
		if j < 0 {
			return math.Pow(float64(i), float64(j))
		}
		result := int64(1)
		for range min(j, 64) {
			p := integers("*", result, i)
			result = p.(int64)
			if result == 0 || result == 1 {
				break
			}
		}
		if j <= 64 || result == 0 || result == 1 {
			return result
		}
	default:
		if j == 0 {
			raise("ZeroDivisionError", "division by zero")
		}
		quotient := i / j
		if (i%j != 0) && ((i < 0) != (j < 0)) {
			quotient--
		}
		switch op {
		case "/":
			return float64(i) / float64(j)
		case "//":
			return quotient
		}
		return i - quotient*j
	}
	raise("OverflowError", "a whole number beyond 64 bits")
	return nil
}

// percent is Python's "..." % values for %s, %d and %%.
func percent(format string, values any) any {
	args := []any{values}
	if l, ok := values.(*list); ok && l.tuple {
		args = l.items
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(format, "%")
		b.WriteString(before)
		if !found {
			break
		}
		if after == "" {
			raise("ValueError", "incomplete format")
		}
		verb := after[0]
		format = after[1:]
		if verb == '%' {
			b.WriteByte('%')
			continue
		}
		if len(args) == 0 {
			raise("TypeError", "not enough arguments for format string")
		}
		switch verb {
		case 's':
			b.WriteString(text(args[0]))
		case 'r':
			b.WriteString(repr(args[0]))
		case 'd', 'i':
			n, ok := number(args[0])
			if !ok {
				raise("TypeError", "%%d format: a real number is required, not %s", typeName(args[0]))
			}
			b.WriteString(repr(int64(math.Trunc(asFloat(n)))))
		default:
			raise("ValueError", "the format %%%c is not supported", verb)
		}
		args = args[1:]
		limit(b.Len())
	}
	if len(args) > 0 { // a dict, and whatever else has items, may be there for %(name)s
		if l, isList := values.(*list); !isDict(values) && !(isList && !l.tuple && !l.isView()) {
			raise("TypeError", "not all arguments converted during string formatting")
		}
	}
	return b.String()
}
