package main

import (
	"fmt"
	"slices"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/peak"
	"dataflex.dev/dataflex/kernels/reduce"
)

// bench measures cases on one device.
type bench struct {
	dev    driver.Device
	room   *room
	flush  driver.F32 // larger than the last-level cache; nil on the interpreter
	queue  driver.Stream
	events [2]driver.Event
	budget time.Duration // of the repeats of one case
	least  int
	most   int
	tiny   bool
}

func newBench(dev driver.Device, quick, tiny bool) *bench {
	b := &bench{dev: dev, room: newRoom(dev), budget: 300 * time.Millisecond, least: 7, most: 100, tiny: tiny}
	if quick || tiny {
		b.budget, b.least = 30*time.Millisecond, 3
	}
	if dev.Kind() == driver.Sim {
		return b
	}
	cache := 64 << 20
	if d, ok := dev.(cuda.Describer); ok {
		cache = max(cache, 2*d.Properties().L2Bytes)
	}
	if tiny {
		cache = 64 << 10
	}
	mem, err := dev.Alloc(cache)
	must(err)
	b.flush = driver.View[float32](mem)
	if q, ok := dev.(cuda.Queuer); ok {
		b.queue = q.Queue()
		for i := range b.events {
			b.events[i], err = dev.(driver.Launcher).NewEvent()
			must(err)
		}
	}
	return b
}

// measure runs one case. Whatever goes wrong in it becomes the record's error: the
// other cases are worth having.
func (b *bench) measure(c Case) (r Record) {
	r = newRecord(c)
	defer b.room.free()
	defer func() {
		if p := recover(); p != nil {
			r.Error = fmt.Sprint(p)
		}
	}()
	call := c.setup(b.room)
	must(b.dev.Synchronize())
	if d, ok := b.dev.(*sim.Device); ok {
		d.ResetCounters()
		call()
		r.count(d.Totals())
		return r
	}
	start := time.Now()
	call()
	must(b.dev.Synchronize())
	r.First = time.Since(start).Seconds()
	times := b.times(call)
	r.Repeats, r.Median, r.Least = len(times), times[len(times)/2].Seconds(), times[0].Seconds()
	return r
}

// times are the sorted times of the repeats, of which there are as many as the budget
// allows.
func (b *bench) times(call func()) []time.Duration {
	var out []time.Duration
	var sum time.Duration
	for range 2 {
		b.once(call) // warm
	}
	for len(out) < b.least || sum < b.budget && len(out) < b.most {
		t := b.once(call)
		out = append(out, t)
		sum += t
	}
	slices.Sort(out)
	return out
}

// once is the time of one call on operands that are in no cache: on a GPU between two
// events, so that what the host does meanwhile counts only where the device waits for it.
func (b *bench) once(call func()) time.Duration {
	reduce.Fill(b.dev, 0, b.flush)
	if b.queue == nil {
		start := time.Now()
		call()
		return time.Since(start)
	}
	must(b.queue.Record(b.events[0]))
	call()
	must(b.queue.Record(b.events[1]))
	must(b.events[1].Synchronize())
	t, err := b.events[1].Since(b.events[0])
	must(err)
	return t
}

// Ceilings are what the device reaches with nothing in the way.
type Ceilings struct {
	Copy     float64 `json:"copy_gb_s"`        // of memory, read and written
	Multiply float64 `json:"multiply_tflop_s"` // float32 multiply-adds
	Tensor   float64 `json:"tensor_tflop_s"`   // products of bf16
	Launch   float64 `json:"launch_us"`        // of host time to queue one kernel
}

// ceilings measures a device's. On a host, where multiply-adds are as fast as the best
// product, those are left to Report.relate.
func (b *bench) ceilings() (c Ceilings) {
	defer b.room.free()
	best := func(call func()) float64 {
		call()
		return b.times(call)[0].Seconds()
	}
	n, steps, rounds, tiles, floats := 16<<20, 2048, 1024, peak.Tiles(b.dev), peak.Floats(b.dev)
	switch {
	case b.tiny:
		n, steps, rounds, tiles, floats = 1<<16, 4, 2, 2, 2048
	case b.queue != nil:
		n = 128 << 20
	}
	x, y := b.room.normal(n, 1), b.room.zeros(n)
	c.Copy = 8 * float64(n) / best(func() { peak.Copy(b.dev, x, y) }) / 1e9
	if b.queue == nil {
		return c
	}
	c.Multiply = 2 * float64(steps*floats) / best(func() { peak.Multiply(b.dev, x.Sub(0, floats), y.Sub(0, floats), steps) }) / 1e12
	one, other := b.room.half(peak.M*peak.K, 1), b.room.half(peak.N*peak.K, 1)
	out := y.Sub(0, tiles*peak.M*peak.N)
	c.Tensor = 2 * peak.M * peak.N * peak.K * float64(rounds*tiles) /
		best(func() { peak.Products(b.dev, one, other, out, rounds) }) / 1e12
	const launches = 2000
	must(b.dev.Synchronize())
	start := time.Now()
	for range launches {
		reduce.Fill(b.dev, 0, y.Sub(0, 32))
	}
	c.Launch = float64(time.Since(start).Nanoseconds()) / launches / 1e3
	must(b.dev.Synchronize())
	return c
}
