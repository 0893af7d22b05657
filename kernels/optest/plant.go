package optest

import (
	"errors"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
)

// Plant returns text with a bug in one of its kernels: the nth line (from 0) of the kernel
// that contains part is changed. Lines are numbered in clang's output.
func Plant(t *testing.T, text, kernel, part string, n int, change func(line string) string) string {
	t.Helper()
	const entry = ".visible .entry "
	before, rest, found := strings.Cut(text, entry+kernel+"(")
	if !found {
		t.Fatalf("no %s", kernel)
	}
	body, after, _ := strings.Cut(rest, entry)
	lines := strings.SplitAfter(body, "\n")
	for i, l := range lines {
		if !strings.Contains(l, part) {
			continue
		}
		if n == 0 {
			if lines[i] = change(l); lines[i] == l {
				t.Fatalf("%q was not changed", l)
			}
			whole := before + entry + kernel + "(" + strings.Join(lines, "")
			if after != "" {
				whole += entry + after
			}
			return whole
		}
		n--
	}
	t.Fatalf("%s has too few lines with %q", kernel, part)
	return ""
}

// Alone returns text without its other kernels, which then need not be parsed.
func Alone(text, kernel string) string {
	const entry = ".visible .entry "
	head, _, _ := strings.Cut(text, entry)
	_, body, _ := strings.Cut(text, entry+kernel+"(")
	body, _, _ = strings.Cut(body, entry)
	return head + entry + kernel + "(" + body
}

// Drop, Swap and Last are changes: delete the line, replace from by to, replace the last
// operand by to.
func Drop(string) string { return "" }

func Swap(from, to string) func(string) string {
	return func(l string) string { return strings.Replace(l, from, to, 1) }
}

func Last(to string) func(string) string {
	return func(l string) string { return l[:strings.LastIndex(l, ",")] + ", " + to + ";" }
}

// Fault is the kind of the interpreter's fault that ends run, "" if there is none.
func Fault(run func()) (kind string, err error) {
	defer func() {
		if r := recover(); r != nil {
			var f *sim.Fault
			if err, _ = r.(error); !errors.As(err, &f) {
				panic(r)
			}
			kind = f.Kind
		}
	}()
	run()
	return "", nil
}
