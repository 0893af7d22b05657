package dashes

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestDouble(t *testing.T) {
	f := pflag.NewFlagSet("x", pflag.ContinueOnError)
	f.String("run", "", "")
	f.StringP("out", "o", "", "")
	for args, want := range map[string]string{
		"-run norm --run=x -run=a=b": "--run norm --run=x --run=a=b",
		"-o f -of -out f part":       "-o f -of --out f part",
		"-help -h -unknown - -1":     "--help -h -unknown - -1",
		"a -- -run x":                "a -- -run x",
		"-run ^(gemm|norm)$ -run":    "--run ^(gemm|norm)$ --run",
	} {
		if got := double(f, strings.Fields(args)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s becomes %q, want %s", args, got, want)
		}
	}
}
