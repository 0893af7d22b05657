package report

import (
	"errors"

	"dataflex.dev/dataflex/data/pyjson"
)

// Tracker shows a run's numbers in another tool.
type Tracker interface {
	// Log records every number of a log history's entry, at its step.
	Log(entry pyjson.Object) error
	// Scalar records one more value.
	Scalar(step int, tag string, value float64) error
	// Close closes it; done reports that the run is finished.
	Close(done bool) error
}

// Trackers are those named by report_to.
type Trackers []Tracker

// Log calls Log of every tracker.
func (t Trackers) Log(entry pyjson.Object) error {
	return t.each(func(x Tracker) error { return x.Log(entry) })
}

// Scalar calls Scalar of every tracker.
func (t Trackers) Scalar(step int, tag string, value float64) error {
	return t.each(func(x Tracker) error { return x.Scalar(step, tag, value) })
}

// Close closes every tracker.
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
