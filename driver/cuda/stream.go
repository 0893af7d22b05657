//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"dataflex.dev/dataflex/driver"
)

// stream is a queue of work on d.
type stream struct {
	d   *Device
	s   cu.Stream
	own bool // the device's own queue: closing it does nothing
}

// event is a point in a stream of d.
type event struct {
	d  *Device
	ev cu.Event
}

// Queue is the device's own queue.
func (d *Device) Queue() driver.Stream { return &stream{d, d.queue, true} }

// Share calls f with the CUstream of the device's own queue, on a thread on which the
// device's context is current.
func (d *Device) Share(f func(queue unsafe.Pointer) error) error {
	var failed error
	err := d.do("cuCtxSetCurrent", func() int {
		failed = f(unsafe.Pointer(streamHandle(d.queue)))
		return 0
	})
	return errors.Join(err, failed)
}

// Busy reports whether the device's own queue has unfinished work.
func (d *Device) Busy() (bool, error) {
	err := d.do("cuStreamQuery", func() int { return code(d.queue.Query()) })
	if errors.Is(err, NotReady) {
		return true, nil
	}
	return false, err
}

// NewStream makes a queue that is not ordered with any other.
func (d *Device) NewStream() (driver.Stream, error) {
	st := &stream{d: d}
	err := d.do("cuStreamCreate", func() int {
		s, err := cu.MakeStream(cu.NonBlocking)
		st.s = s
		return code(err)
	})
	if err != nil {
		return nil, err
	}
	return st, nil
}

// stream is the driver's stream of s; nil is the device's own queue. It panics for the
// stream of another device.
func (d *Device) stream(s driver.Stream) cu.Stream {
	if s == nil {
		return d.queue
	}
	st, ok := s.(*stream)
	if !ok || st.d != d {
		panic("cuda: the stream is not of this device")
	}
	return st.s
}

// Record records e after all work queued in s so far.
func (s *stream) Record(e driver.Event) error { return s.d.event(e).record(s.s) }

// Wait makes later work of s wait for e.
func (s *stream) Wait(e driver.Event) error {
	ev := s.d.event(e)
	return s.d.do("cuStreamWaitEvent", func() int { return code(s.s.Wait(ev.ev, 0)) })
}

// Synchronize waits for all work of s.
func (s *stream) Synchronize() error {
	if err := s.d.refuseCapture("Synchronize"); err != nil {
		return err
	}
	return s.d.do("cuStreamSynchronize", func() int { return code(s.s.Synchronize()) })
}

// Close destroys the stream; the work in it still runs.
func (s *stream) Close() error {
	if s.own {
		return nil
	}
	return s.d.do("cuStreamDestroy", func() int { return code(s.s.Destroy()) })
}

// NewEvent makes an event that records times.
func (d *Device) NewEvent() (driver.Event, error) {
	e, err := d.newEvent()
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (d *Device) newEvent() (*event, error) {
	e := &event{d: d}
	err := d.do("cuEventCreate", func() int {
		ev, err := cu.MakeEvent(cu.DefaultEvent)
		e.ev = ev
		return code(err)
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// event is the device's event of e. It panics for an event of another device.
func (d *Device) event(e driver.Event) *event {
	ev, ok := e.(*event)
	if !ok || ev.d != d {
		panic("cuda: the event is not of this device")
	}
	return ev
}

func (e *event) record(s cu.Stream) error {
	return e.d.do("cuEventRecord", func() int { return code(e.ev.Record(s)) })
}

// Synchronize waits until e has completed.
func (e *event) Synchronize() error {
	return e.d.do("cuEventSynchronize", func() int { return code(e.ev.Synchronize()) })
}

// Since is the time on the GPU between two completed events, to about half a microsecond.
func (e *event) Since(earlier driver.Event) (time.Duration, error) {
	from := e.d.event(earlier)
	var ms float64
	err := e.d.do("cuEventElapsedTime", func() (c int) {
		var err error
		ms, err = from.ev.Elapsed(e.ev)
		return code(err)
	})
	return time.Duration(ms * float64(time.Millisecond)), err
}

// Close destroys the event.
func (e *event) Close() error {
	return e.d.do("cuEventDestroy", func() int { return code(cu.DestroyEvent(&e.ev)) })
}
