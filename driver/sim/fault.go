package sim

import (
	"fmt"
	"math/bits"
	"strings"
)

// Kinds of faults.
const (
	OutOfBounds    = "out of bounds"
	Misaligned     = "misaligned"
	Uninitialised  = "uninitialised"
	Race           = "race"
	AsyncHazard    = "async hazard"
	ProxyHazard    = "missing proxy fence"
	Divergence     = "divergence"
	Deadlock       = "deadlock"
	Runaway        = "runaway"
	BadShuffle     = "undefined shuffle"
	BadBarrier     = "barrier misuse"
	BadMbarrier    = "mbarrier misuse"
	BadTMA         = "TMA misuse"
	BadWgmma       = "wgmma misuse"
	BadRegisters   = "setmaxnreg misuse"
	BadCluster     = "cluster misuse"
	Trap           = "trap"
	IllegalAddress = "illegal address"
)

// Fault is an error of a kernel for which a GPU returns garbage, hangs or, at best, reports
// an error without a place.
type Fault struct {
	Kind    string
	Kernel  string
	Line    int    // of the PTX text
	Source  string // CUDA source, file:line; "" where the PTX has no .loc
	Text    string // the PTX instruction
	Block   [3]int
	Thread  [3]int
	Message string
}

// Error names kernel, PTX line, CUDA line, block and thread.
func (f *Fault) Error() string {
	src := f.Source
	if src != "" {
		src = " (" + src + ")"
	}
	return fmt.Sprintf("sim: %s in %s, ptx line %d%s `%s`, block (%d,%d,%d) thread (%d,%d,%d): %s",
		f.Kind, f.Kernel, f.Line, src, f.Text,
		f.Block[0], f.Block[1], f.Block[2], f.Thread[0], f.Thread[1], f.Thread[2], f.Message)
}

// fault stops the block. It unwinds to runClusters by panic: memory accesses are deep in the
// executor's inner loops, which have no error results for that reason.
func (b *block) fault(w *warp, o *op, lane int, kind, format string, args ...any) {
	st := &b.k.statements[o.statement]
	panic(&Fault{
		Kind: kind, Kernel: b.k.name, Line: st.line, Source: st.pos.String(),
		Text:    strings.TrimSuffix(strings.TrimSpace(b.k.module.source[st.line-1]), ";"),
		Block:   w.home.ctaid,
		Thread:  b.threadIndex(w.id*32 + lane),
		Message: fmt.Sprintf(format, args...),
	})
}

// threadIndex is the three-dimensional index of a thread of the block.
func (b *block) threadIndex(tid int) [3]int {
	x, y := b.ntid[0], b.ntid[1]
	return [3]int{tid % x, tid / x % y, tid / (x * y)}
}

// where describes a statement in the message of another statement's fault.
func (b *block) where(pc int32) string {
	st := &b.k.statements[b.k.code[pc].statement]
	if s := st.pos.String(); s != "" {
		return fmt.Sprintf("ptx line %d (%s)", st.line, s)
	}
	return fmt.Sprintf("ptx line %d", st.line)
}

func firstLane(m uint32) int { return bits.TrailingZeros32(m) }
