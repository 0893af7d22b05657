package main

import (
	"fmt"
	"slices"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/peak"
	"dataflex.dev/dataflex/kernels/ptx"
	"dataflex.dev/dataflex/kernels/reduce"
)

// bench measures cases on one device.
type bench struct {
	dev    driver.Device
	room   *room
	others []variant  // of the same device with other kernels; none: those are not timed
	flush  driver.F32 // larger than the last-level cache; nil on the interpreter
	queue  driver.Stream
	events [2]driver.Event
	budget time.Duration // of the repeats of one case
	least  int
	most   int
	tiny   bool
	check  bool
}

// rooms are those that there are.
func (b *bench) rooms() []*room {
	all := []*room{b.room}
	for _, v := range b.others {
		all = append(all, v.room)
	}
	return all
}

// variant is the device with other kernels than its own choice.
type variant struct {
	name string
	room *room
	has  func(c Case) bool // whether the case has such kernels
}

// ampere is a GPU that is given the sm_80 text of every family.
type ampere struct {
	driver.Launcher
	own driver.Attachment
}

// Attached is apart from the GPU's, as the kernels are other ones.
func (d *ampere) Attached() *any { return d.own.Attached() }

// Attributes are the GPU's, but for the capability.
func (d *ampere) Attributes() driver.Attributes {
	a := d.Launcher.Attributes()
	a.Capability = 80
	return a
}

// withoutClusters is a GPU that is given no kernels for clusters.
type withoutClusters struct {
	driver.Launcher
	own driver.Attachment
}

// Attached is apart from the GPU's, as for ampere.
func (d *withoutClusters) Attached() *any { return d.own.Attached() }

// Attributes are the GPU's, but for the clusters.
func (d *withoutClusters) Attributes() driver.Attributes {
	a := d.Launcher.Attributes()
	a.Clusters = false
	return a
}

// compareGenerations has the sm_80 kernels timed beside those of Hopper, where dev has both,
// and of products the kernels without clusters.
func (b *bench) compareGenerations() {
	l, ok := b.dev.(driver.Launcher)
	if !ok || !ptx.Hopper(b.dev) || b.dev.Kind() != driver.CUDA {
		return
	}
	b.others = append(b.others, variant{"sm_80", newRoom(&ampere{Launcher: l}), Case.generations})
	if b.dev.Attributes().Clusters {
		b.others = append(b.others, variant{"no clusters", newRoom(&withoutClusters{Launcher: l}), Case.clusters})
	}
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

// measure runs one case, and beside it, where the bench has other generations of the kernel,
// these. Whatever goes wrong in it becomes the record's error: the other cases are worth
// having.
func (b *bench) measure(c Case) (out []Record) {
	out = append(make([]Record, 0, 1+len(b.others)), newRecord(c))
	defer func() {
		for _, r := range b.rooms() {
			r.free()
		}
		if p := recover(); p != nil {
			for i := range out {
				out[i].Error = fmt.Sprint(p)
			}
		}
	}()
	if d, ok := b.dev.(*sim.Device); ok {
		j := c.setup(b.room)
		d.ResetCounters()
		j.call()
		out[0].count(d.Totals())
		if b.check {
			out[0].Check = j.verify(c.Name()).verdict()
		}
		return out
	}
	trials := []*trial{b.prepare(c, b.room, &out[0])}
	for _, v := range b.others {
		if !v.has(c) {
			continue
		}
		out = append(out, newRecord(c))
		r := &out[len(out)-1]
		r.Name, r.Variant = r.Name+"@"+v.name, v.name
		trials = append(trials, b.prepare(c, v.room, r))
	}
	calls := make([]func(), len(trials))
	for i, t := range trials {
		calls[i] = t.call
	}
	for i, times := range b.times(calls...) {
		trials[i].done(times)
	}
	return out
}

// trial is one variant of a case, which has run once.
type trial struct {
	job
	verifier
	record *Record
}

// prepare makes a job's operands in r, and runs it once.
func (b *bench) prepare(c Case, r *room, record *Record) *trial {
	t := &trial{job: c.setup(r), record: record}
	must(b.dev.Synchronize())
	start := time.Now()
	t.call()
	must(b.dev.Synchronize())
	record.First = time.Since(start).Seconds()
	if b.check {
		t.verifier = t.verify(c.Name())
		record.Check = t.verdict()
	}
	return t
}

// done takes the sorted times, and looks again at what the last call left.
func (t *trial) done(times []time.Duration) {
	r := t.record
	r.Repeats, r.Median, r.Least = len(times), times[len(times)/2].Seconds(), times[0].Seconds()
	if r.Check == good && t.again {
		r.Check = t.verdict()
	}
}

// warmUp is how long calls are repeated before they are timed: clocks rise.
const warmUp = 50 * time.Millisecond

// times are the sorted times of each call's repeats, of which there are as many as the
// budget allows. Calls take turns, launch by launch, and each turn begins with another one:
// what drifts on the device, its clock and its temperature, drifts for all of them.
func (b *bench) times(calls ...func()) [][]time.Duration {
	out := make([][]time.Duration, len(calls))
	for start, n := time.Now(), 0; n < 2 || time.Since(start) < min(warmUp, b.budget); n++ {
		for _, call := range calls {
			b.once(call)
		}
	}
	var sum time.Duration
	for n := 0; n < b.least || sum < b.budget*time.Duration(len(calls)) && n < b.most; n++ {
		for i := range calls {
			at := (n + i) % len(calls)
			t := b.once(calls[at])
			out[at] = append(out[at], t)
			sum += t
		}
	}
	for _, t := range out {
		slices.Sort(t)
	}
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
		return b.times(call)[0][0].Seconds()
	}
	n, steps, rounds, tiles, floats := 16<<20, 2048, 1024, peak.Tiles(b.dev), peak.Floats(b.dev)
	switch {
	case b.tiny:
		n, steps, rounds, tiles, floats = 1<<16, 4, 2, 2, 2048
	case b.queue != nil:
		n = 128 << 20
	}
	x, y := b.room.normal(n, 1).Slice, b.room.zeros(n)
	c.Copy = 8 * float64(n) / best(func() { peak.Copy(b.dev, x, y) }) / 1e9
	if b.queue == nil {
		return c
	}
	c.Multiply = 2 * float64(steps*floats) / best(func() { peak.Multiply(b.dev, x.Sub(0, floats), y.Sub(0, floats), steps) }) / 1e12
	one, other := b.room.half(peak.M*peak.K, 1), b.room.half(peak.N*peak.K, 1)
	out := y.Sub(0, tiles*peak.M*peak.N)
	c.Tensor = 2 * peak.M * peak.N * peak.K * float64(rounds*tiles) /
		best(func() { peak.Products(b.dev, one.Slice, other.Slice, out, rounds) }) / 1e12
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
