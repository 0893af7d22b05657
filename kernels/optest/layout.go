package optest

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/ptx"
)

// Layouts compares the Go parameters of every entry of a PTX file with the file: all must be
// declared, and match what the PTX declares and reads.
func Layouts(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := sim.Declarations(file, string(text))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(ptx.Families(), func(f *ptx.Family) bool { return f.Text() == string(text) })
	if i < 0 {
		t.Errorf("%s: no family embeds this file", file)
		return
	}
	for name, parameters := range entries {
		l := ptx.Families()[i].Layout(name)
		if l == nil {
			t.Errorf("%s: %s: its parameters are not declared exactly once", file, name)
			continue
		}
		for _, d := range Differences(l, parameters) {
			t.Errorf("%s: %s: %s: %s", file, name, l.Type, d)
		}
	}
}

// Differences lists those between a layout and an entry's declaration: number, offset, size
// and alignment of the parameters; and every value that the kernel reads by name must be a
// field of that size, a float if it is read as one.
func Differences(l *ptx.Layout, declared []sim.Parameter) (out []string) {
	if len(l.Parameters) != len(declared) {
		return []string{fmt.Sprintf("%d parameters, the PTX has %d", len(l.Parameters), len(declared))}
	}
	values := map[int]ptx.Field{}
	for _, v := range l.Values {
		values[v.Offset] = v
	}
	for i, p := range declared {
		if f := l.Parameters[i]; f.Offset != p.Offset || f.Size != p.Size || f.Align != p.Align {
			out = append(out, fmt.Sprintf("%s has %d bytes at %d on %d, %s %d at %d on %d", f.Name, f.Size, f.Offset, f.Align, p.Name, p.Size, p.Offset, p.Align))
			continue
		}
		for _, r := range p.Reads {
			v, ok := values[r.Offset]
			if !ok || v.Size != r.Size || r.Float && !v.Float {
				out = append(out, fmt.Sprintf("line %d reads %d bytes at %d (float: %v), which is %+v", r.Line, r.Size, r.Offset, r.Float, v))
			}
		}
	}
	return out
}
