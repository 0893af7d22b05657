// Command build makes the PTX of kernels/ from their CUDA sources, with Debian's clang and
// without a CUDA toolkit, and checks it.
//
//	go run ./kernels/build                 compile every kernels/*/*.cu, write the PTX beside it, lint it
//	go run ./kernels/build norm gemm       only those families
//	go run ./kernels/build --check         compile and compare with the existing PTX; lint; write nothing
//	go run ./kernels/build --lint          lint the existing PTX, without a compiler
//	go run ./kernels/build --pack          pack the existing PTX for embedding, without a compiler
//	go run ./kernels/build --table         kernels/build/ptxas.json as a table in kernels/build/ptxas.md
//
// Beside each PTX there is the file that programs embed: the same text packed by brotli,
// which --check and --lint compare with it.
//
// x.cu becomes x.sm80.ptx (PTX 7.0: any GPU since Ampere), x.sm90a.cu becomes x.sm90a.ptx
// (PTX 8.0: Hopper only). The compilers are pinned, so that the text is the same on every
// machine: apt-get install clang-19=1:19.1.7-3~deb12u1 clang-22=1:22.1.8-1~deb12u1
// (bookworm, bookworm-security).
//
// Exit status: 0 success, 1 something is wrong with the kernels, 2 nothing is known to be
// wrong but a pinned compiler is missing.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/kernels/ptx"
)

var errNoCompiler = errors.New("no pinned compiler")

// mode is what to do with existing PTX, instead of writing it.
type mode struct{ check, lint, pack bool }

func main() {
	var m mode
	pflag.BoolVar(&m.check, "check", false, "compare with the existing PTX instead of writing it")
	pflag.BoolVar(&m.lint, "lint", false, "only lint the existing PTX")
	pflag.BoolVar(&m.pack, "pack", false, "only pack the existing PTX")
	table := pflag.Bool("table", false, "write kernels/build/ptxas.md from ptxas-check's report")
	pflag.Parse()
	var err error
	if *table {
		err = writeTable("kernels/build/ptxas.md", "kernels/build/ptxas.json")
	} else {
		err = run(m, pflag.Args())
	}
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "kernels/build:", err)
	if errors.Is(err, errNoCompiler) {
		os.Exit(2)
	}
	os.Exit(1)
}

// run builds the sources. It reports a missing compiler only if nothing else is wrong.
func run(m mode, families []string) error {
	sources, err := findSources("kernels", families)
	if err != nil {
		return err
	}
	var errs []error
	var missing error
	for _, s := range sources {
		switch err := s.build(m); {
		case errors.Is(err, errNoCompiler):
			missing = err
		case err != nil:
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return missing
}

// findSources lists the CUDA sources under root, of the named families or of all.
func findSources(root string, families []string) ([]source, error) {
	paths, err := filepath.Glob(filepath.Join(root, "*", "*.cu"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no %s/*/*.cu: run from the top of the repository", root)
	}
	var out []source
	for _, p := range paths {
		if len(families) == 0 || slices.Contains(families, filepath.Base(filepath.Dir(p))) {
			out = append(out, newSource(p))
		}
	}
	return out, nil
}

// source is one CUDA file with the files made from it.
type source struct {
	cu, ptx string
	arch    architecture
}

func newSource(cu string) source {
	stem := strings.TrimSuffix(cu, ".cu")
	if s, ok := strings.CutSuffix(stem, ".sm90a"); ok {
		return source{cu, s + ".sm90a.ptx", sm90a}
	}
	return source{cu, stem + ".sm80.ptx", sm80}
}

func (s source) build(m mode) error {
	have, readErr := os.ReadFile(s.ptx)
	text := have
	if m.lint || m.pack {
		if readErr != nil {
			return readErr
		}
	} else {
		var err error
		if text, err = s.arch.compile(s.cu); err != nil {
			return fmt.Errorf("%s: %w", s.cu, err)
		}
	}
	if faults := lint(s.ptx, string(text), s.arch); len(faults) > 0 {
		return fmt.Errorf("%s: %w", s.ptx, errors.Join(faults...))
	}
	if err := m.put(s.ptx, text, s.cu); err != nil || !m.pack && isPacked(s.ptx+ptx.PackedSuffix, text) {
		return err
	}
	packed, err := ptx.Pack(text)
	if err != nil {
		return fmt.Errorf("%s: %w", s.ptx, err)
	}
	return m.put(s.ptx+ptx.PackedSuffix, packed, s.cu)
}

// isPacked reports whether a file unpacks to that text; packing it again takes seconds.
func isPacked(path string, text []byte) bool {
	packed, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	have, err := ptx.Unpack(string(packed))
	return err == nil && have == string(text)
}

// put writes a file if it differs, or returns an error for it in a mode that does not write.
func (m mode) put(path string, want []byte, cu string) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, want) {
		return nil
	}
	if m.check || m.lint {
		return fmt.Errorf("%s is not what %s becomes: run make kernels, or without a compiler go run ./kernels/build --pack", path, cu)
	}
	fmt.Println(path)
	return os.WriteFile(path, want, 0o644)
}
