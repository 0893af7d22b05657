//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"runtime"

	"gorgonia.org/cu"
)

// graph is recorded work of d.
type graph struct {
	d *Device
	x execGraph
}

// Capture records what record puts into the device's own queue. The driver ties a capture to
// the thread it began on, so record runs locked to that thread.
func (d *Device) Capture(record func() error) (Graph, error) {
	if err := d.refuseCapture("Capture"); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := d.do("cuStreamBeginCapture", func() int { return nativeBeginCapture(d.queue) }); err != nil {
		return nil, fmt.Errorf("cuda: capture: %w", err)
	}
	d.capturing = true
	done := false
	defer func() {
		d.capturing = false
		if !done {
			nativeAbandonCapture(d.queue)
		}
	}()
	if err := record(); err != nil {
		return nil, fmt.Errorf("cuda: capture: %w", err)
	}
	g := &graph{d: d}
	if err := check("cuCtxSetCurrent", code(cu.SetCurrentContext(d.ctx))); err != nil {
		return nil, fmt.Errorf("cuda: capture: %w", err)
	}
	done = true
	x, call, result := nativeEndCapture(d.queue)
	if err := d.result(call, result); err != nil {
		return nil, fmt.Errorf("cuda: capture: %w", err)
	}
	g.x = x
	return g, nil
}

// refuseCapture returns an error for a call that cannot be recorded, during a capture.
func (d *Device) refuseCapture(call string) error {
	if d.capturing {
		return errors.New("cuda: " + call + " inside Capture")
	}
	return nil
}

// Launch queues all of the recorded work.
func (g *graph) Launch() error {
	if err := g.d.refuseCapture("launch of a graph"); err != nil {
		return err
	}
	err := g.d.do("cuGraphLaunch", func() int { return g.x.launch(g.d.queue) })
	if err == nil {
		g.d.last = "a graph's"
	}
	return err
}

// Close destroys the graph.
func (g *graph) Close() error {
	return g.d.do("cuGraphExecDestroy", func() int { return g.x.destroy() })
}
