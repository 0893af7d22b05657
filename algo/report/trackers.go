package report

import (
	"errors"

	"dataflex.dev/dataflex/data/pyjson"
)

// Tracker shows a run's numbers in a tool of its own.
type Tracker interface {
	// Log takes every number of a log history's entry, at its step.
	Log(entry pyjson.Object) error
	// Scalar takes one more value.
	Scalar(step int, tag string, value float64) error
	// Close ends it; done says that the run came to its end.
	Close(done bool) error
}

// Trackers is what report_to names.
type Trackers []Tracker

// Log tells every tracker.
func (t Trackers) Log(entry pyjson.Object) error {
	return t.each(func(x Tracker) error { return x.Log(entry) })
}

// Scalar tells every tracker.
func (t Trackers) Scalar(step int, tag string, value float64) error {
	return t.each(func(x Tracker) error { return x.Scalar(step, tag, value) })
}

// Close ends every tracker.
func (t Trackers) Close(done bool) error {
	return t.each(func(x Tracker) error { return x.Close(done) })
}

func (t Trackers) each(do func(Tracker) error) error {
	var errs []error
	for _, x := range t {
		errs = append(errs, do(x))
	}
	return errors.Join(errs...)
}
