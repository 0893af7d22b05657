// Package rng replays the random streams behind upstream's seeded choices: torch's CPU
// generator, NumPy's default_rng and legacy RandomState, and Python's random. The same
// seed gives the same draws, and every stream's position can be exported for a
// checkpoint. Generators are not safe for concurrent use.
package rng
