package yamlfile

import (
	"errors"
	"testing"
)

// FuzzParse: no input may panic, hang, or give an error without a usable place.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "a: 1\nb: [1, 1e-4, x]\n", "a: &x {b: *x}\n", "a: 1\na: 2\n", "{\"a\": [true, null]}", "\ta: 1", "a: 'x\n", "? [a]\n: b\n",
		"<<: {a: 1}\n", "<<: [{a: 1}, 2]\n", "a: !!int x\n", "a: 0b_\n", "--- a\n--- b\n", "\xff\xfe", "\ufeffa: 1\n", "a: |\n  x\n b", "%YAML 1.2\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Parse("f.yaml", data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Pos.File != "f.yaml" || e.Pos.Line < 0 {
				t.Fatalf("error without a place: %v", err)
			}
			_ = err.Error()
			return
		}
		_ = v.Any()
	})
}

// FuzzOverrides: the same for one command-line argument.
func FuzzOverrides(f *testing.F) {
	for _, seed := range []string{"a=1", "a.b[c]=x", "a", "=", "a=[", "[a]=1", "..a=1", "a={x: 1, x: 2}", "a=&x *x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		v, err := Overrides([]string{arg})
		if err != nil {
			_ = err.Error()
			return
		}
		_ = v.Any()
	})
}
