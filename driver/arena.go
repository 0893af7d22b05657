package driver

import "fmt"

// Arena allocates float32 memory that is released all at once: the activations of one
// micro-batch. Reserve allocates it as one piece. A pass that needs more than was reserved
// gets further pieces; the next Reset then replaces all pieces by one of the largest pass's
// size, so that passes of any order of sizes take the memory of the largest.
type Arena struct {
	dev    Device
	chunks []F32
	mems   []Memory
	chunk  int // index of the chunk being filled
	used   int // floats allocated from that chunk
	live   int // floats allocated since Reset
	peak   int // the largest live so far, or the size reserved
}

const (
	arenaChunk = 1 << 22 // floats (16 MiB): the smallest piece that a pass adds
	arenaAlign = 16      // floats: one cache line
)

// NewArena returns an empty arena on dev.
func NewArena(dev Device) *Arena { return &Arena{dev: dev} }

// Reserve allocates memory for passes of up to that many bytes and frees what the arena had.
// It panics while memory of the arena is in use.
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

// Reset releases everything that F32 returned. An arena of several pieces is freed: the next
// pass allocates one piece instead.
func (a *Arena) Reset() {
	a.chunk, a.used, a.live = 0, 0, 0
	if len(a.chunks) > 1 {
		a.free()
	}
}

// HighWater is the largest number of bytes in use at a time, or reserved.
func (a *Arena) HighWater() uint64 { return 4 * uint64(a.peak) }

// Close frees the memory.
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
