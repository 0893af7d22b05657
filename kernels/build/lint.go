package main

import "dataflex.dev/dataflex/driver/sim"

// lint reports what must not be in shipped PTX: instructions that the interpreter's strict
// decoder does not support (including calls and functions, because everything is inlined),
// local memory, another version or target, and accesses to accumulators while a wgmma is in
// flight.
func lint(name, text string, a architecture) []error {
	return sim.Lint(name, []byte(text), a.version, a.target)
}
