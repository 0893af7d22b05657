//go:build cuda && cgo && linux

package cuda

import (
	"errors"
)

// stagingSize is the bytes of one staging buffer: large enough to hide the cost of queueing
// a copy behind the transfer, small enough to stay in a host's cache.
const stagingSize = 4 << 20

// staging is the pinned memory through which CopyIn and CopyOut copy, because a copy from
// memory that is not pinned blocks inside the driver. The two buffers take turns.
type staging struct {
	buffers [2]buffer
	turn    int
}

// buffer is pinned memory that the queue may use until passed.
type buffer struct {
	mem    *HostBuffer
	passed *event
	busy   bool
}

func newStaging(d *Device) (*staging, error) {
	s := &staging{}
	for i := range s.buffers {
		b := &s.buffers[i]
		var err error
		if b.passed, err = d.newEvent(); err == nil {
			b.mem, err = d.NewHostBuffer(stagingSize)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// next is the buffer whose turn it is, after the copy before has completed.
func (s *staging) next() (*buffer, error) {
	b := &s.buffers[s.turn]
	s.turn = (s.turn + 1) % len(s.buffers)
	return b, b.wait()
}

// mark records that the copy queued last uses b.
func (b *buffer) mark() error {
	b.busy = true
	return b.passed.record(b.passed.d.queue)
}

func (b *buffer) wait() error {
	if !b.busy {
		return nil
	}
	b.busy = false
	return b.passed.Synchronize()
}

// drain waits for b and copies its start to dst. A nil buffer holds nothing.
func (b *buffer) drain(dst []byte) error {
	if b == nil {
		return nil
	}
	if err := b.wait(); err != nil {
		return err
	}
	copy(dst, b.mem.Bytes())
	return nil
}

func (s *staging) close() error {
	var errs []error
	for i := range s.buffers {
		b := &s.buffers[i]
		if b.mem != nil {
			errs = append(errs, b.mem.Close())
		}
		if b.passed != nil {
			errs = append(errs, b.passed.Close())
		}
	}
	return errors.Join(errs...)
}
