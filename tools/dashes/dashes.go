// Package dashes lets the tools' flags have one dash or two: `kbench -run norm` is written in
// many notes and scripts. pflag reads one dash as a series of one-letter flags.
package dashes

import (
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// Parse is pflag.Parse for arguments with one dash or two.
func Parse() { _ = pflag.CommandLine.Parse(double(pflag.CommandLine, os.Args[1:])) } // ends the program on an error

// double gives the known flags among args two dashes: what follows "--" is no flag, and one
// letter alone already is one.
func double(known *pflag.FlagSet, args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if a == "--" {
			copy(out[i:], args[i:])
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		if strings.HasPrefix(a, "-") && len(name) > 1 && (known.Lookup(name) != nil || name == "help") {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}
