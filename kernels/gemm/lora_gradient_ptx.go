package gemm

import (
	_ "embed"
	"math"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed lora_gradient.sm80.ptx.br
var loraGradientSM80 string

var loraGradientFamily = ptx.New("gemm, gradients of adapters", loraGradientSM80)

// As in lora_gradient.cu.
const (
	maxGradients = 6
	maxPieces    = 64
	maxThin      = 64 // columns of the thin factor
)

// A part of the rows is cut into pieces of at least pieceRows, at most mostPieces: enough blocks
// for a large device, few partial sums. They are the order of the sum, and depend on the part's
// length alone.
const (
	pieceRows  = 512
	mostPieces = 8
)

// gradientPartial is the bytes of partial sums held at once, unless a part has more.
const gradientPartial = 64 << 20

// loraGradients are struct gradients of lora_gradient.cu.
type loraGradients struct {
	list    [maxGradients]loraGradient
	partial uintptr
	entries int64
	ends    uint64
	count   int32 // of gradients
	rank    int32 // the largest
	pieces  int32
	first   [maxPieces + 1]int32
}

// loraGradient is struct gradient of lora_gradient.cu.
type loraGradient struct {
	wide, thin, c                            uintptr
	at                                       int64
	width, rank, ldWide, ldThin, ldc, across int32
	tiles, padding                           int32
}

var loraGradientKernels = ptx.Declare[ptx.One[loraGradients]](loraGradientFamily, "gemm_lora_gradient_*")

func addLoRAGradientsPTX(dev driver.Launcher, ends []int, list []LoRAGradient) {
	var thin, other []LoRAGradient
	for _, x := range list {
		switch {
		case x.C.Rows == 0 || x.C.Cols == 0:
		case x.thin():
			thin = append(thin, x)
		default:
			other = append(other, x)
		}
	}
	for some := range slices.Chunk(thin, maxGradients) {
		addThin(ptx.On(dev), ends, some)
	}
	from := 0
	for _, end := range ends {
		if len(other) > 0 && end > from {
			sums := make([]Sum, len(other))
			for i, x := range other {
				sums[i] = Sum{Pairs: []Pair{{x.A.Sub(from, end), x.B.Sub(from, end)}}, Alpha: 1, F32: x.C, Add: true}
			}
			RunGroup(dev, TN, sums)
		}
		from = end
	}
}

// addThin launches as many parts at once as there is room for, in pieces and partial sums.
func addThin(q *ptx.Queue, ends []int, list []LoRAGradient) {
	var g ptx.One[loraGradients]
	g.P.place(list)
	room := max(mostPieces, min(maxPieces, gradientPartial/(4*int(g.P.entries))))
	from := 0
	for _, end := range ends {
		if int(g.P.pieces)+min(mostPieces, ptx.Blocks(end-from, pieceRows)) > room {
			launchThin(q, &g)
		}
		g.P.cut(from, end)
		from = end
	}
	launchThin(q, &g)
}

// place sets the gradients.
func (g *loraGradients) place(list []LoRAGradient) {
	for i := range g.list {
		if i >= len(list) {
			g.list[i] = loraGradient{at: math.MaxInt64, tiles: math.MaxInt32}
			continue
		}
		x, before := &list[i], int32(0)
		if i > 0 {
			before = g.list[i-1].tiles
		}
		wide, thin, across := x.A, x.B, x.C.Rows < x.C.Cols
		if across {
			wide, thin = thin, wide
		}
		g.list[i] = loraGradient{
			wide: wide.Data.Addr(), thin: thin.Data.Addr(), c: x.C.Data.Addr(), at: g.entries,
			width: int32(wide.Cols), rank: int32(thin.Cols), ldWide: int32(wide.Ld), ldThin: int32(thin.Ld), ldc: int32(x.C.Ld),
			across: ptx.Flag(across), tiles: before + int32(ptx.Blocks(wide.Cols, 128)),
		}
		g.rank, g.count = max(g.rank, int32(thin.Cols)), int32(i+1)
		g.entries += int64(x.C.Rows * x.C.Cols)
	}
}

// cut appends a part's pieces.
func (g *loraGradients) cut(from, end int) {
	if from == end {
		return
	}
	n := min(mostPieces, ptx.Blocks(end-from, pieceRows))
	length := (ptx.Blocks(end-from, n) + 31) &^ 31 // whole slices
	for ; from < end; from += length {
		g.first[g.pieces] = int32(from)
		g.pieces++
		g.first[g.pieces] = int32(min(end, from+length))
	}
	g.ends |= 1 << (g.pieces - 1)
}

// launchThin sums the pieces, and then has none.
func launchThin(q *ptx.Queue, g *ptx.One[loraGradients]) {
	p := &g.P
	if p.pieces == 0 {
		return
	}
	kernel := "gemm_lora_gradient_64"
	switch {
	case p.rank <= 16:
		kernel = "gemm_lora_gradient_16"
	case p.rank <= 32:
		kernel = "gemm_lora_gradient_32"
	}
	if p.partial = 0; p.pieces > 1 {
		p.partial = q.Scratch(partialSlot, 4*int(p.entries)*int(p.pieces))
	}
	loraGradientKernels.Launch(q, kernel, ptx.Grid2(int(p.list[p.count-1].tiles), int(p.pieces), 256), g)
	if p.pieces > 1 {
		loraGradientKernels.Launch(q, "gemm_lora_gradient_sum", ptx.Grid(ptx.Blocks(int(p.entries), 256), 256), g)
	}
	p.pieces, p.ends = 0, 0
}
