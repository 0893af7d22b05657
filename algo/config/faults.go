package config

import "strings"

// faults collects the faults of a configuration, so that one run shows them all.
type faults []error

// mostFaults is how many faults of one file's keys are listed.
const mostFaults = 50

func (f *faults) add(err error) { *f = append(*f, err) }

func (f faults) err() error {
	switch len(f) {
	case 0:
		return nil
	case 1:
		return f[0]
	}
	return Faults(f)
}

// Join combines several errors into one; nil if there are none.
func Join(errs []error) error { return faults(errs).err() }

// Faults are several errors of a configuration, in the order in which they were found.
type Faults []error

func (f Faults) Unwrap() []error { return f }

func (f Faults) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "\n")
}
