package main

import (
	"fmt"
	"regexp"
	"strings"

	"dataflex/driver/sim"
)

var forbidden = []struct {
	word    string // found first, as it is cheap
	pattern *regexp.Regexp
	why     string
}{
	{".local", regexp.MustCompile(`\.local\b`), "local memory: a spill, or an array indexed at run time"},
	{"call", regexp.MustCompile(`^\s*(@!?%p\d+\s+)?call\b`), "a call: everything is inlined, and there is no library"},
	{".func", regexp.MustCompile(`^\s*(\.visible\s+)?\.func\b`), "a function: everything is inlined"},
}

// lint reports what must not be in shipped PTX: see forbidden, a wrong version or
// target, accumulators touched while a wgmma is in flight, and whatever the
// interpreter's strict decoder does not know.
func lint(text string, a architecture) []error {
	var faults []error
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		for _, f := range forbidden {
			if strings.Contains(l, f.word) && f.pattern.MatchString(l) {
				faults = append(faults, fmt.Errorf("line %d: %s: %s", i+1, strings.TrimSpace(l), f.why))
			}
		}
	}
	if !strings.Contains(text, "\n.version "+a.version+"\n") && !strings.HasPrefix(text, ".version "+a.version+"\n") {
		faults = append(faults, fmt.Errorf("not .version %s", a.version))
	}
	if !strings.Contains(text, "\n.target "+a.target+"\n") {
		faults = append(faults, fmt.Errorf("not .target %s", a.target))
	}
	faults = append(faults, lintWgmma(lines)...)
	dev := sim.New(sim.Options{Workers: 1})
	defer dev.Close()
	if _, err := dev.LoadModule("lint", []byte(text)); err != nil {
		faults = append(faults, err)
	}
	return faults
}

var register = regexp.MustCompile(`%[a-z]+\d+`)

// lintWgmma finds uses of an accumulator between its wgmma.mma_async and the next
// wgmma.wait_group: ptxas answers them by serialising.
func lintWgmma(lines []string) []error {
	var faults []error
	inFlight := map[string]bool{}
	for i, l := range lines {
		switch {
		case strings.Contains(l, "wgmma.mma_async"):
			_, rest, _ := strings.Cut(l, "{")
			list, _, _ := strings.Cut(rest, "}")
			for _, r := range register.FindAllString(list, -1) {
				inFlight[r] = true
			}
		case strings.Contains(l, "wgmma.wait_group"):
			clear(inFlight)
		case len(inFlight) > 0:
			for _, r := range register.FindAllString(l, -1) {
				if inFlight[r] {
					faults = append(faults, fmt.Errorf("line %d: %s uses an accumulator of a wgmma in flight", i+1, strings.TrimSpace(l)))
					break
				}
			}
		}
	}
	return faults
}
