package jinja

import (
	"fmt"
	"strings"
	"time"
)

// globals are the functions available to every template.
var globals = map[string]*function{
	"raise_exception": {"raise_exception", func(_ *renderer, a called) any {
		raise("TemplateError", "%s", text(a.get(0, "message", "")))
		return nil
	}},
	"strftime_now": {"strftime_now", func(r *renderer, a called) any {
		return strftime(r.options.Now, text(a.get(0, "format", "")))
	}},
	"namespace": {"namespace", func(_ *renderer, a called) any {
		ns := &namespace{map[string]any{}}
		for _, v := range a.list {
			if d, ok := v.(*dict); ok {
				for i, k := range d.keys {
					ns.vars[text(k)] = d.values[i]
				}
			}
		}
		for i, n := range a.names {
			ns.vars[n] = a.named[i]
		}
		return ns
	}},
	"dict": {"dict", func(_ *renderer, a called) any {
		d := newDict()
		for _, v := range a.list {
			if from, ok := v.(*dict); ok {
				for i, k := range from.keys {
					d.set(k, from.values[i])
				}
				continue
			}
			for _, pair := range elements(v) {
				kv := elements(pair)
				if len(kv) != 2 {
					raise("ValueError", "dictionary update sequence element has length %d; 2 is required", len(kv))
				}
				d.set(kv[0], kv[1])
			}
		}
		for i, n := range a.names {
			d.set(n, a.named[i])
		}
		return d
	}},
	"range": {"range", func(_ *renderer, a called) any {
		bounds := [3]int64{0, 0, 1}
		for i, v := range a.list {
			n, ok := number(v)
			whole, isInt := n.(int64)
			if !ok || !isInt || i > 2 {
				raise("TypeError", "'%s' object cannot be interpreted as an integer", typeName(v))
			}
			bounds[i] = whole
		}
		switch len(a.list) {
		case 0:
			raise("TypeError", "range expected at least 1 argument, got 0")
		case 1:
			bounds[0], bounds[1] = 0, bounds[0]
		}
		if bounds[2] == 0 {
			raise("ValueError", "range() arg 3 must not be zero")
		}
		out := &list{view: fmt.Sprintf("range(%d, %d)", bounds[0], bounds[1])}
		if bounds[2] != 1 {
			out.view = fmt.Sprintf("range(%d, %d, %d)", bounds[0], bounds[1], bounds[2])
		}
		for i := bounds[0]; bounds[2] > 0 && i < bounds[1] || bounds[2] < 0 && i > bounds[1]; i += bounds[2] {
			if len(out.items) == mostRange {
				raise("OverflowError", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", mostRange)
			}
			out.items = append(out.items, i)
		}
		return out
	}},
	"joiner": {"joiner", func(_ *renderer, a called) any {
		separator, used := a.get(0, "sep", ", "), false
		return &function{"joiner", func(*renderer, called) any {
			if !used {
				used = true
				return ""
			}
			return separator
		}}
	}},
	"cycler": {"cycler", func(_ *renderer, a called) any {
		if len(a.list) == 0 {
			raise("RuntimeError", "no items for cycling given")
		}
		i := -1
		ns := &namespace{map[string]any{}}
		ns.vars["current"] = a.list[0]
		ns.vars["next"] = &function{"next", func(*renderer, called) any {
			i++
			ns.vars["current"] = a.list[(i+1)%len(a.list)]
			return a.list[i%len(a.list)]
		}}
		ns.vars["reset"] = &function{"reset", func(*renderer, called) any { i, ns.vars["current"] = -1, a.list[0]; return nil }}
		return ns
	}},
}

// strftime writes a time as C's strftime does in the C locale.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(format, "%")
		b.WriteString(before)
		if !found || after == "" {
			if found {
				b.WriteByte('%')
			}
			return b.String()
		}
		pad := true
		if after[0] == '-' && len(after) > 1 { // glibc's flag for no padding
			pad, after = false, after[1:]
		}
		b.WriteString(directive(t, after[0], pad))
		format = after[1:]
	}
}

// layouts are Go's layouts for the directives.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'c': "Mon Jan _2 15:04:05 2006", 'D': "01/02/06",
	'd': "02", 'e': "_2", 'F': "2006-01-02", 'H': "15", 'I': "03", 'm': "01", 'M': "04", 'p': "PM", 'R': "15:04", 'S': "05",
	'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST",
}

func directive(t time.Time, c byte, pad bool) string {
	var s string
	switch c {
	case '%':
		return "%"
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case 'j':
		s = fmt.Sprintf("%03d", t.YearDay())
	case 'u':
		s = fmt.Sprint((int(t.Weekday())+6)%7 + 1)
	case 'w':
		s = fmt.Sprint(int(t.Weekday()))
	case 'f':
		s = fmt.Sprintf("%06d", t.Nanosecond()/1000)
	case 's':
		s = fmt.Sprint(t.Unix())
	default:
		layout, ok := layouts[c]
		if !ok {
			return "%" + string(c)
		}
		s = t.Format(layout)
	}
	if !pad {
		if trimmed := strings.TrimLeft(s, "0 "); trimmed != "" {
			return trimmed
		}
		return "0"
	}
	return s
}
