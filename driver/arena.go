package driver

import "fmt"

// Arena hands out float32 memory that is taken back all at once: the
// activations of one micro-batch. After the first step of the largest shape it
// allocates nothing more.
type Arena struct {
	dev    Device
	chunks []F32
	mems   []Memory
	chunk  int // the chunk being filled
	used   int // floats taken from it
	live   int // floats handed out since Reset
	peak   int
}

const (
	arenaChunk = 1 << 22 // floats: 16 MiB
	arenaAlign = 16      // floats: one cache line
)

// NewArena starts empty on dev.
func NewArena(dev Device) *Arena { return &Arena{dev: dev} }

// F32 returns n floats of unspecified contents, 64-byte aligned, valid until Reset.
func (a *Arena) F32(n int) (F32, error) {
	need := (n + arenaAlign - 1) / arenaAlign * arenaAlign
	for a.chunk < len(a.chunks) && a.used+need > a.chunks[a.chunk].Len() {
		a.chunk, a.used = a.chunk+1, 0
	}
	if a.chunk == len(a.chunks) {
		m, err := a.dev.Alloc(4 * max(need, arenaChunk))
		if err != nil {
			return F32{}, fmt.Errorf("arena: %d floats, %d in use: %w", n, a.live, err)
		}
		a.mems = append(a.mems, m)
		a.chunks = append(a.chunks, View[float32](m))
	}
	s := a.chunks[a.chunk].Sub(a.used, a.used+n)
	a.used += need
	a.live += need
	a.peak = max(a.peak, a.live)
	return s, nil
}

// Reset takes everything back.
func (a *Arena) Reset() { a.chunk, a.used, a.live = 0, 0, 0 }

// Mark is a point to which Release goes back, for memory with a shorter life.
type Mark struct{ chunk, used, live int }

// Mark remembers what has been handed out so far.
func (a *Arena) Mark() Mark { return Mark{a.chunk, a.used, a.live} }

// Release takes back everything handed out after m.
func (a *Arena) Release(m Mark) { a.chunk, a.used, a.live = m.chunk, m.used, m.live }

// HighWater is the largest number of bytes handed out at once.
func (a *Arena) HighWater() uint64 { return 4 * uint64(a.peak) }

// Close gives the memory back to the device.
func (a *Arena) Close() {
	for _, m := range a.mems {
		a.dev.Free(m)
	}
	a.chunks, a.mems = nil, nil
	a.Reset()
}
