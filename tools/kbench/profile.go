package main

import (
	"cmp"
	"slices"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cuda"
)

// profiler is a device whose launches are counted and, while it is on, timed one by one,
// between two events each.
type profiler struct {
	driver.Launcher
	queue    driver.Stream
	launches int
	on       bool
	marks    []mark
	free     []driver.Event
}

// mark is one launch that is timed.
type mark struct {
	kernel     string
	start, end driver.Event
}

// kernelShare is what one kernel takes of a pass.
type kernelShare struct {
	Kernel   string  `json:"kernel"`
	Launches int     `json:"launches"`
	Seconds  float64 `json:"seconds"`
	Share    float64 `json:"share"` // of all kernels' time
}

// profiled wraps dev, or is nil where nothing is launched.
func profiled(dev driver.Device) (*profiler, error) {
	l, ok := dev.(driver.Launcher)
	if !ok {
		return nil, nil
	}
	p := &profiler{Launcher: l}
	if q, ok := dev.(cuda.Queuer); ok {
		p.queue = q.Queue()
		return p, nil
	}
	var err error
	p.queue, err = l.NewStream()
	return p, err
}

// Launch implements driver.Launcher.
func (p *profiler) Launch(f driver.Function, c driver.Config, args *driver.Args) error {
	p.launches++
	if !p.on {
		return p.Launcher.Launch(f, c, args)
	}
	m := mark{kernel: f.Name()}
	for _, e := range []*driver.Event{&m.start, &m.end} {
		var err error
		if *e, err = p.event(); err != nil {
			return err
		}
	}
	if err := p.queue.Record(m.start); err != nil {
		return err
	}
	if err := p.Launcher.Launch(f, c, args); err != nil {
		return err
	}
	p.marks = append(p.marks, m)
	return p.queue.Record(m.end)
}

func (p *profiler) event() (driver.Event, error) {
	if n := len(p.free); n > 0 {
		e := p.free[n-1]
		p.free = p.free[:n-1]
		return e, nil
	}
	return p.NewEvent()
}

// profile runs step with its launches timed, and sums up by kernel, the longest first.
func (p *profiler) profile(step func() error) (out []kernelShare, err error) {
	p.on, p.marks = true, p.marks[:0]
	err = step()
	p.on = false
	if err != nil {
		return nil, err
	}
	if err := p.Synchronize(); err != nil {
		return nil, err
	}
	at, sum := map[string]int{}, time.Duration(0)
	for _, m := range p.marks {
		t, err := m.end.Since(m.start)
		if err != nil {
			return nil, err
		}
		i, ok := at[m.kernel]
		if !ok {
			i = len(out)
			at[m.kernel] = i
			out = append(out, kernelShare{Kernel: m.kernel})
		}
		out[i].Launches++
		out[i].Seconds += t.Seconds()
		sum += t
		p.free = append(p.free, m.start, m.end)
	}
	for i := range out {
		out[i].Share = out[i].Seconds / sum.Seconds()
	}
	slices.SortFunc(out, func(a, b kernelShare) int { return cmp.Compare(b.Seconds, a.Seconds) })
	return out, nil
}

// close gives the events back.
func (p *profiler) close() error {
	var first error
	for _, e := range p.free {
		if err := e.Close(); first == nil {
			first = err
		}
	}
	p.free = nil
	return first
}
