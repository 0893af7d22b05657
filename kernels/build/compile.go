package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// architecture is a target and the compiler that is pinned for it: clang-19 ignores
// __grid_constant__, which tensor maps need.
type architecture struct {
	target, version string // in the PTX
	clang, release  string
	feature         string
}

var (
	sm80  = architecture{target: "sm_80", version: "7.0", clang: "clang-19", release: "19.1.7", feature: "+ptx70"}
	sm90a = architecture{target: "sm_90a", version: "8.0", clang: "clang-22", release: "22.1.8", feature: "+ptx80"}
)

// compile returns the PTX of a source.
func (a architecture) compile(cu string) ([]byte, error) {
	if err := a.pinned(); err != nil {
		return nil, err
	}
	cmd := exec.Command(a.clang, "-x", "cuda", "--cuda-device-only", "-nocudainc", "-nocudalib", "-S", "-O3", "-std=c++17",
		"-Wall", "-Werror", "-ffp-contract=off", "-gline-tables-only", "-fdebug-compilation-dir=.",
		"--cuda-gpu-arch="+a.target, "--cuda-feature="+a.feature, cu, "-o", "-")
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", a.clang, err, msg.String())
	}
	return tidy(out.Bytes()), nil
}

// versions has the version that each compiler reports.
var versions = map[string]string{}

func (a architecture) pinned() error {
	v, ok := versions[a.clang]
	if !ok {
		out, err := exec.Command(a.clang, "--version").Output()
		if err != nil {
			return fmt.Errorf("%w: %s does not run: %w", errNoCompiler, a.clang, err)
		}
		v, _, _ = strings.Cut(string(out), "\n")
		versions[a.clang] = v
		fmt.Fprintln(os.Stderr, v)
	}
	if !strings.Contains(v, " "+a.release+" ") {
		return fmt.Errorf("%w: %s is %q, not %s", errNoCompiler, a.clang, v, a.release)
	}
	return nil
}

var (
	comment  = regexp.MustCompile(`[ \t]*//.*`)
	function = regexp.MustCompile(`(?m)^(\t\.loc\t[0-9 ]*[0-9]).*$`)
	blank    = regexp.MustCompile(`\n\s*\n+`)
	parent   = regexp.MustCompile(`[^/"]+/\.\./`)
	file     = regexp.MustCompile(`(?m)^\t\.file\t.*\n?`)
	cluster  = regexp.MustCompile(`\.maxclusterrank ([0-9]+)`)
	section  = regexp.MustCompile(`(?s)\t\.section.*?\n\t\}`)
)

// tidy drops comments and debug sections with the references to them, and shortens paths:
// line numbers stay, for the interpreter's messages and for profilers. The third argument of
// __launch_bounds__, which clang makes the largest cluster, becomes the cluster's size: clang
// has no attribute for that, and with it a launch needs none of its own.
func tidy(ptx []byte) []byte {
	ptx = comment.ReplaceAll(ptx, nil)
	ptx = section.ReplaceAll(ptx, nil)
	ptx = function.ReplaceAll(ptx, []byte("$1"))
	ptx = parent.ReplaceAll(ptx, nil)
	ptx = bytes.ReplaceAll(ptx, []byte(`"./`), []byte(`"`))
	ptx = cluster.ReplaceAll(ptx, []byte(".explicitcluster\n.reqnctapercluster $1, 1, 1"))
	// The table of files is at the end of clang's output, after its use.
	files := bytes.Join(file.FindAll(ptx, -1), nil)
	ptx = file.ReplaceAll(ptx, nil)
	ptx = bytes.Replace(ptx, []byte(".address_size 64\n"), append([]byte(".address_size 64\n"), files...), 1)
	ptx = blank.ReplaceAll(ptx, []byte("\n"))
	return append(bytes.TrimSpace(ptx), '\n')
}
