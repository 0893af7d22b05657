package main

import "dataflex.dev/dataflex/driver/sim"

// lint reports what must not be in shipped PTX: what the interpreter's strict decoder
// does not know (calls and functions among it, as everything is inlined), local memory,
// another version or target, and accumulators touched while a wgmma is in flight.
func lint(name, text string, a architecture) []error {
	return sim.Lint(name, []byte(text), a.version, a.target)
}
