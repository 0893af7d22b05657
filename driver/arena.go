package driver

import "fmt"

// Arena hands out float32 memory that is taken back all at once: the activations of one
// micro-batch. It is one allocation once Reserve has said how much a pass needs, or a pass
// has shown it: what a pass needs beyond that is allocated in pieces, which Reset gives back
// for one allocation of the largest pass's size, so that passes of any order of sizes take
// the memory of the largest.
type Arena struct {
	dev    Device
	chunks []F32
	mems   []Memory
	chunk  int // the chunk being filled
	used   int // floats taken from it
	live   int // floats handed out since Reset
	peak   int // the most of them so far, or reserved
}

const (
	arenaChunk = 1 << 22 // floats: 16 MiB, the least that a pass grows by
	arenaAlign = 16      // floats: one cache line
)

// NewArena starts empty on dev.
func NewArena(dev Device) *Arena { return &Arena{dev: dev} }

// Reserve allocates memory for passes of up to that many bytes, instead of what there is.
// Nothing may be handed out.
func (a *Arena) Reserve(bytes uint64) error {
	if a.live > 0 {
		panic("driver: Reserve of an arena that is in use")
	}
	floats := int((bytes + 3) / 4)
	if len(a.chunks) == 1 && a.chunks[0].Len() >= floats {
		return nil
	}
	a.free()
	a.peak = max(a.peak, floats)
	if a.peak == 0 {
		return nil
	}
	return a.grow(a.peak)
}

// grow adds a chunk.
func (a *Arena) grow(floats int) error {
	m, err := a.dev.Alloc(4 * floats)
	if err != nil {
		return fmt.Errorf("arena: %d floats, %d in use: %w", floats, a.live, err)
	}
	a.mems = append(a.mems, m)
	a.chunks = append(a.chunks, View[float32](m))
	return nil
}

// F32 returns n floats of unspecified contents, 64-byte aligned, valid until Reset.
func (a *Arena) F32(n int) (F32, error) {
	need := (n + arenaAlign - 1) / arenaAlign * arenaAlign
	for a.chunk < len(a.chunks) && a.used+need > a.chunks[a.chunk].Len() {
		a.chunk, a.used = a.chunk+1, 0
	}
	if a.chunk == len(a.chunks) {
		size := max(need, arenaChunk)
		if len(a.chunks) == 0 {
			size = max(size, a.peak)
		}
		if err := a.grow(size); err != nil {
			return F32{}, err
		}
	}
	s := a.chunks[a.chunk].Sub(a.used, a.used+n)
	a.used += need
	a.live += need
	a.peak = max(a.peak, a.live)
	return s, nil
}

// Reset takes everything back. Memory in pieces is given back to the device: the next pass
// gets it in one.
func (a *Arena) Reset() {
	a.chunk, a.used, a.live = 0, 0, 0
	if len(a.chunks) > 1 {
		a.free()
	}
}

// HighWater is the largest number of bytes handed out at once, or reserved.
func (a *Arena) HighWater() uint64 { return 4 * uint64(a.peak) }

// Close gives the memory back to the device.
func (a *Arena) Close() {
	a.free()
	a.chunk, a.used, a.live = 0, 0, 0
}

func (a *Arena) free() {
	for _, m := range a.mems {
		a.dev.Free(m)
	}
	a.chunks, a.mems = nil, nil
}
