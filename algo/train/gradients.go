package train

import (
	"fmt"
	"log/slog"
	"slices"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/tensor"
)

// sharedGradients are the gradients at stage 2: of their sum over the processes each keeps its
// own parts. The whole gradient of a parameter only exists from where the backward pass comes
// to it to where it has left it: then the processes add it up, and the next ones take its
// memory, the window. That gives the bits of whole gradients where a process makes the
// gradient of all of its logical ranks in one pass: what several passes add up is a sum of
// numbers that would have to be kept whole in between.
type sharedGradients struct {
	device  driver.Device
	units   []*unit
	of      []int // the unit of each section
	memory  [2]driver.Memory
	bytes   uint64
	handle  func(*unit) error // what is done with the gradients of a unit; nil between passes
	passed  bool              // a backward pass has begun since handle was set
	failure error             // of it
}

// unit is the parameters of consecutive sections of the model, of which the gradients are in
// memory at the same time.
type unit struct {
	first, last int // sections
	params      []*tensor.Param
	runs        []run
	done        bool // in this backward pass
}

// run is parameters of a unit that lie one after another: what is added up at a time.
type run struct {
	lo        int          // the first one's place among the elements of all parameters
	whole     []driver.F32 // their gradients, in the window
	own       []driver.F32 // this process's parts of the sum
	from, end int          // indices of the parameters
}

// evenBlocks is the least size of a unit, in blocks for each process: a process's share of a
// unit is whole blocks.
const evenBlocks = 8

// wholeGradients is why every process keeps the whole gradient though the configuration shards
// it; "" if it shards it.
func wholeGradients(c *config.Config, plan Plan, job *ranks.Job, model *decoder.Model) string {
	switch t := c.Training; {
	case plan.Ranks != job.Size():
		return fmt.Sprintf("each process computes %d logical ranks, one after another: start %d processes", plan.Ranks/job.Size(), plan.Ranks)
	case plan.Accumulate == 1:
		return ""
	case model.Apart() != "":
		return "micro-batches cannot share a pass, and their gradients add up: " + model.Apart() + ": set gradient_accumulation_steps: 1"
	case t.MergeTokens != nil:
		return "merge_tokens divides the micro-batches of a step into several passes, whose gradients add up: remove it"
	}
	return ""
}

// placeGradients gives the gradients of what trains their memory, and l the shares of them.
func (l *lanes) placeGradients(c *config.Config, plan Plan, model *decoder.Model, log *slog.Logger) error {
	if c.Training.Sharding.Stage < 2 {
		return nil
	}
	units := newSharedGradients(l.device, l.params, model.Spans(), model.Sections(), l.job.Size())
	if model.SharesWeights() { // a section is brought together by itself
		l.ends = units.ends()
	}
	why := ""
	if l.job.Size() > 1 {
		why = wholeGradients(c, plan, l.job, model)
	}
	if l.job.Size() == 1 || why != "" {
		if why != "" {
			log.Warn("every process keeps whole gradients, as at stage 1: "+why, c.Training.Sharding.Key, c.Training.Sharding.Stage)
		}
		for _, p := range l.params {
			if err := p.Train(l.device); err != nil {
				return err
			}
		}
		model.PlaceGradients(func(p *tensor.Param) driver.F32 { return p.Grad }, nil)
		return nil
	}
	l.sharded = units
	return nil
}

// newSharedGradients divides the parameters into units. spans are the sections that use each, of
// n.
func newSharedGradients(dev driver.Device, params []*tensor.Param, spans map[*tensor.Param]decoder.Span, n, processes int) *sharedGradients {
	g := &sharedGradients{device: dev, of: make([]int, n)}
	sizes := make([]int, n)
	for _, p := range params {
		if s := spans[p]; s.First == s.Last {
			sizes[s.First] += p.Size()
		}
	}
	least := evenBlocks * processes * reduce.Leaf
	size := 0
	for s := range n {
		if s == 0 || size >= least && sum(sizes[s:]) >= least {
			g.units, size = append(g.units, &unit{first: s}), 0
		}
		size += sizes[s]
		g.of[s] = len(g.units) - 1
		g.units[len(g.units)-1].last = s
	}
	throughout := &unit{first: 0, last: n - 1} // used in several sections
	at := 0
	for i, p := range params {
		u := throughout
		if s := spans[p]; s.First == s.Last {
			u = g.units[g.of[s.First]]
		}
		u.params = append(u.params, p)
		if k := len(u.runs); k > 0 && u.runs[k-1].end == i {
			u.runs[k-1].end++
		} else {
			u.runs = append(u.runs, run{lo: at, from: i, end: i + 1})
		}
		at += p.Size()
	}
	g.units = append(g.units, throughout)
	return g
}

func sum(x []int) (n int) {
	for _, v := range x {
		n += v
	}
	return n
}

// ends are the parameters with which runs end.
func (g *sharedGradients) ends() (out []int) {
	for _, u := range g.units {
		for _, r := range u.runs {
			out = append(out, r.end-1)
		}
	}
	slices.Sort(out)
	return out
}

// alignment of tensors in shared memory, in floats.
const alignment = 64

// aligned is the room that n floats take.
func aligned(n int) int { return (n + alignment - 1) / alignment * alignment }

// allocate takes the memory: a window as large as the largest unit, behind it what is used
// throughout, and this process's parts.
func (g *sharedGradients) allocate(s *shares, params []*tensor.Param) error {
	window, throughout, parts := 0, 0, 0
	for i, u := range g.units {
		size := 0
		for _, p := range u.params {
			size += aligned(p.Size())
		}
		if i == len(g.units)-1 {
			throughout = size
		} else {
			window = max(window, size)
		}
	}
	for _, of := range s.parts {
		for _, part := range of {
			parts += aligned(part.View.Size())
		}
	}
	for i, n := range []int{window + throughout, parts} {
		m, err := g.device.Alloc(4 * n)
		if err != nil {
			return fmt.Errorf("shared gradients: %w", err)
		}
		g.memory[i] = m
		g.bytes += uint64(m.Size())
	}
	for i, u := range g.units {
		at := 0
		if i == len(g.units)-1 {
			at = window
		}
		take := driver.View[float32](g.memory[0])
		for _, p := range u.params {
			p.Place(take.Sub(at, at+p.Size()))
			at += aligned(p.Size())
		}
	}
	own, at := driver.View[float32](g.memory[1]), 0
	for _, of := range s.parts {
		for _, part := range of {
			part.View.Place(own.Sub(at, at+part.View.Size()))
			at += aligned(part.View.Size())
		}
	}
	for _, u := range g.units {
		for k := range u.runs {
			r := &u.runs[k]
			for i := r.from; i < r.end; i++ {
				r.whole = append(r.whole, params[i].Grad)
				for _, part := range s.parts[i] {
					r.own = append(r.own, part.View.Grad)
				}
			}
		}
	}
	return nil
}

func (g *sharedGradients) close() {
	for _, m := range g.memory {
		if m.Size() > 0 {
			g.device.Free(m)
		}
	}
}

// during makes a gradient by pass and has handle called with the gradients of every unit, once
// and in the same order whatever pass does: the other processes make the same calls. Of a unit
// that pass has not come to the gradients are zeros.
func (g *sharedGradients) during(handle func(*unit) error, pass func() error) error {
	g.handle, g.failure, g.passed = handle, nil, false
	for _, u := range g.units {
		u.done = false
	}
	throughout := g.units[len(g.units)-1]
	clearGradients(g.device, throughout.params)
	err := task.Catch(pass)
	for i := len(g.units) - 2; i >= 0; i-- {
		if u := g.units[i]; !u.done {
			clearGradients(g.device, u.params)
			g.finish(u)
		}
	}
	g.finish(throughout)
	g.handle = nil
	if g.failure != nil {
		return g.failure // which may be err as well
	}
	return err
}

func (g *sharedGradients) finish(u *unit) {
	if u.done = true; g.failure == nil {
		g.failure = g.handle(u)
	}
}

// Before implements decoder.Follower.
func (g *sharedGradients) Before(section int) error {
	if g.handle == nil {
		panic("train: a backward pass outside of a step, whose gradients would be lost")
	}
	g.passed = true
	if u := g.units[g.of[section]]; u.last == section {
		clearGradients(g.device, u.params)
	}
	return nil
}

// After implements decoder.Follower.
func (g *sharedGradients) After(section int) error {
	if u := g.units[g.of[section]]; u.first == section {
		g.finish(u)
	}
	return g.failure
}
