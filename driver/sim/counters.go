package sim

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// opCount counts what one instruction did in a launch.
type opCount struct {
	issues, lanes uint64
	requests      uint64 // memory instructions of a warp
	units, ideal  uint64 // sectors or wavefronts, and the least possible number of them
	asyncBytes    uint64 // moved by bulk copies
	asyncUnits    uint64 // sectors of bulk copies
}

// Traffic counts the requests of warps to one memory.
type Traffic struct {
	Requests uint64
	// Units are 32-byte sectors of global memory, or wavefronts of shared memory: the passes
	// into which bank conflicts split a request.
	Units uint64
	// Ideal is what Units would be if every request were packed densely and free of
	// conflicts.
	Ideal                  uint64
	LoadBytes, StoreBytes  uint64 // bytes that active lanes requested
	BulkLoads, BulkStores  uint64 // bytes moved by TMA and bulk copies
	BulkSectors, AtomicOps uint64
}

// Line is one PTX instruction of a kernel.
type Line struct {
	PTX      int    // line of the text
	Source   string // CUDA source, "" without debug information
	Opcode   string
	Warps    uint64 // times issued
	Lanes    uint64 // times issued, summed over active lanes
	Requests uint64
	Units    uint64
	Ideal    uint64
}

// Counters are exact and independent of the machine.
type Counters struct {
	Kernel           string
	Launches, Blocks uint64
	Warps            uint64 // warp instructions issued
	Lanes            uint64 // instructions times active lanes
	Divergent        uint64 // branches that split a warp
	Flops            uint64 // an fma is two; mma and wgmma by their shape
	Global, Shared   Traffic
	Mix              map[string]uint64 // warp instructions by opcode with all modifiers
	Lines            []Line

	k      *kernel
	counts []opCount
}

func newCounters(k *kernel) *Counters {
	return &Counters{Kernel: k.name, Launches: 1, k: k, counts: make([]opCount, len(k.code))}
}

// add adds the counters of a worker's block.
func (c *Counters) add(b *block) {
	c.Divergent += b.divergent
	c.Blocks += b.ran
	b.ran = 0
	for i := range c.counts {
		c.counts[i].add(&b.counts[i])
	}
}

func (c *opCount) add(d *opCount) {
	c.issues += d.issues
	c.lanes += d.lanes
	c.requests += d.requests
	c.units += d.units
	c.ideal += d.ideal
	c.asyncBytes += d.asyncBytes
	c.asyncUnits += d.asyncUnits
}

// finish computes the sums from the counters of each instruction.
func (c *Counters) finish() {
	c.Warps, c.Lanes, c.Flops = 0, 0, 0
	c.Global, c.Shared = Traffic{}, Traffic{}
	c.Mix = map[string]uint64{}
	c.Lines = c.Lines[:0]
	for i := range c.counts {
		n, o := &c.counts[i], &c.k.code[i]
		if n.issues == 0 && n.requests == 0 {
			continue
		}
		st := &c.k.statements[o.statement]
		name := st.opcode
		if i == len(c.counts)-1 {
			name = "ret"
		}
		c.Warps += n.issues
		c.Lanes += n.lanes
		if o.warpFlops {
			c.Flops += n.issues * uint64(o.flops)
		} else {
			c.Flops += n.lanes * uint64(o.flops)
		}
		c.Mix[name] += n.issues
		c.Lines = append(c.Lines, Line{st.line, st.pos.String(), name, n.issues, n.lanes, n.requests, n.units, n.ideal})
		c.traffic(o, n)
	}
}

func (c *Counters) traffic(o *op, n *opCount) {
	if o.mem == nil {
		return
	}
	t := &c.Global
	if o.mem.space == spaceShared {
		t = &c.Shared
	}
	t.Requests += n.requests
	t.Units += n.units
	t.Ideal += n.ideal
	t.BulkSectors += n.asyncUnits
	bytes := n.lanes * uint64(o.mem.bytes())
	switch {
	case o.mem.bulk && o.mem.store:
		t.BulkStores += n.asyncBytes
	case o.mem.bulk:
		t.BulkLoads += n.asyncBytes
	case o.mem.atomic:
		t.AtomicOps += n.lanes
	case o.mem.space == spaceParam || o.mem.space == spaceLocal:
	case o.mem.store:
		t.StoreBytes += bytes
	default:
		t.LoadBytes += bytes
	}
}

// GlobalBytes is the number of bytes moved to and from global memory, bulk copies included.
func (c *Counters) GlobalBytes() uint64 {
	g := &c.Global
	return g.LoadBytes + g.StoreBytes + g.BulkLoads + g.BulkStores
}

// Conflicts is the number of wavefronts of shared memory above the least possible.
func (c *Counters) Conflicts() uint64 { return c.Shared.Units - c.Shared.Ideal }

// Count is the number of warp instructions whose opcode starts with prefix.
func (c *Counters) Count(prefix string) uint64 {
	var n uint64
	for op, k := range c.Mix {
		if strings.HasPrefix(op, prefix) {
			n += k
		}
	}
	return n
}

// Report writes the sums and each instruction with its share, for people to read.
func (c *Counters) Report(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s: %d launches, %d blocks, %d warp instructions, %d lane operations, %d flops\n"+
		"global: %d requests, %d sectors (ideal %d), %d B loaded, %d B stored, %d+%d B bulk\n"+
		"shared: %d requests, %d wavefronts (ideal %d)\n",
		c.Kernel, c.Launches, c.Blocks, c.Warps, c.Lanes, c.Flops,
		c.Global.Requests, c.Global.Units, c.Global.Ideal, c.Global.LoadBytes, c.Global.StoreBytes, c.Global.BulkLoads, c.Global.BulkStores,
		c.Shared.Requests, c.Shared.Units, c.Shared.Ideal)
	for _, l := range c.Lines {
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%6d %-28s %12d %12d %8d %8d  %s\n", l.PTX, l.Source, l.Warps, l.Lanes, l.Units, l.Ideal, l.Opcode)
	}
	return err
}

// Last returns the counters of the last launch, even if it faulted.
func (d *Device) Last() *Counters { return d.last }

// Total is the sum over all launches of the kernel of that name since the last
// ResetCounters, nil if there was none.
func (d *Device) Total(kernel string) *Counters {
	t := d.totals[kernel]
	if t != nil {
		t.finish()
	}
	return t
}

// Totals returns Total of every kernel launched since the last ResetCounters, by name.
func (d *Device) Totals() []*Counters {
	var out []*Counters
	for _, name := range slices.Sorted(maps.Keys(d.totals)) {
		out = append(out, d.Total(name))
	}
	return out
}

// Entry identifies a kernel: kernels of different PTX texts may have the same name.
type Entry struct{ Target, Name string }

func (k *kernel) entry() Entry { return Entry{k.module.target, k.name} }

// Launched lists the kernels that have been launched, in no particular order.
func (d *Device) Launched() []Entry { return slices.Collect(maps.Keys(d.launched)) }

// Entries lists the kernels of a PTX text.
func Entries(name, text string) (all []Entry, err error) {
	m, err := parseModule(name, text)
	if err != nil {
		return nil, err
	}
	for _, n := range m.order {
		all = append(all, m.kernels[n].entry())
	}
	return all, nil
}

// ResetCounters discards all counters.
func (d *Device) ResetCounters() { d.last, d.totals = nil, map[string]*Counters{} }

func (d *Device) addTotal(c *Counters) {
	t := d.totals[c.Kernel]
	if t == nil || t.k != c.k {
		t = newCounters(c.k)
		t.Launches = 0
		d.totals[c.Kernel] = t
	}
	t.Launches += c.Launches
	t.Blocks += c.Blocks
	t.Divergent += c.Divergent
	for i := range t.counts {
		t.counts[i].add(&c.counts[i])
	}
}
