package gemm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed experts.sm80.ptx.br
var expertsSM80 string

//go:embed experts_bf16.sm80.ptx.br
var expertsBF16SM80 string

var (
	expertsFamily     = ptx.New("gemm, experts", expertsSM80)
	expertsBF16Family = ptx.New("gemm, experts in bf16", expertsBF16SM80)
)

// As in experts.cuh.
const (
	mostExperts = 224
	listRows    = 128
)

// expertArguments are struct experts of experts.cuh, but for the problem.
type expertArguments struct {
	offsets, tiles uintptr
	first, count   int32
	own, other     [mostExperts]uintptr
}

// Parameters of the kernels of experts.cu and of experts_bf16.cu.
type (
	expertProducts struct {
		p Product
		expertArguments
	}
	expertProductsBF16 struct {
		p ProductBF16
		expertArguments
	}
)

var (
	expertTiles     = ptx.Declare[ptx.One[expertProducts]](expertsFamily, "experts_*")
	expertTilesBF16 = ptx.Declare[ptx.One[expertProductsBF16]](expertsBF16Family, "experts_bf16_*")
)

var (
	expertKernels     = [...]string{NN: "experts_nn", NT: "experts_nt", TN: "experts_tn"}
	expertKernelsBF16 = [...]string{NN: "experts_bf16_nn", NT: "experts_bf16_nt", TN: "experts_bf16_tn"}
)

// launches calls f with the arguments of as many launches as the experts need.
func (of Experts) launches(own, other []uintptr, f func(expertArguments)) {
	if of.Tiles.Len() == 0 {
		return // no tokens
	}
	for first := 0; first < len(own); first += mostExperts {
		x := expertArguments{offsets: of.Offsets.Addr(), tiles: of.Tiles.Addr(), first: int32(first)}
		x.count = int32(copy(x.own[:], own[first:]))
		copy(x.other[:], other[min(first, len(other)):])
		f(x)
	}
}

func addresses[T Element](list []Matrix[T]) []uintptr {
	out := make([]uintptr, len(list))
	for i, x := range list {
		out[i] = x.Data.Addr()
	}
	return out
}

// rowTiles is a grid for n columns and the rows of all entries of the list, in tiles of that
// size.
func (of Experts) rowTiles(n, rows, columns int) driver.Config {
	return ptx.Grid2(ptx.Blocks(n, columns), of.Tiles.Len()/2*(listRows/rows), 256)
}

func (of Experts) runPTX(dev driver.Launcher, tr Transpose, p Product, b []F32) {
	p.ldb = int32(b[0].Ld)
	of.launches(addresses(b), nil, func(x expertArguments) {
		expertTiles.Launch(ptx.On(dev), expertKernels[tr], of.rowTiles(int(p.n), smallTile.rows, smallTile.columns), &ptx.One[expertProducts]{P: expertProducts{p, x}})
	})
}

func (of Experts) addPTX(dev driver.Launcher, alpha float32, a, b F32, c []F32) {
	p := newProduct(a.Rows, alpha, a, 1, c[0])
	p.b, p.ldb = b.Data.Addr(), int32(b.Ld)
	of.launches(addresses(c), nil, func(x expertArguments) {
		expertTiles.Launch(ptx.On(dev), expertKernels[TN], sumTiles(c[0], smallTile.rows, smallTile.columns, int(x.count)), &ptx.One[expertProducts]{P: expertProducts{p, x}})
	})
}

// sumTiles is a grid for every expert's C.
func sumTiles(c F32, rows, columns, experts int) driver.Config {
	return driver.Config{Grid: driver.Dim{X: ptx.Blocks(c.Cols, columns), Y: ptx.Blocks(c.Rows, rows), Z: experts}, Block: driver.Dim{X: 256}}
}

func (of Experts) runBF16PTX(dev driver.Launcher, p bf16Problem, b, l []BF16) {
	s := p.tiles()
	s.ldb = int32(b[0].Ld)
	of.launches(addresses(b), addresses(l), func(x expertArguments) {
		expertTilesBF16.Launch(ptx.On(dev), expertKernelsBF16[p.tr], of.rowTiles(p.c.Cols, 128, 128), &ptx.One[expertProductsBF16]{P: expertProductsBF16{s, x}})
	})
}

func (of Experts) addBF16PTX(dev driver.Launcher, alpha float32, a, b BF16, c []F32) {
	p := bf16Problem{tr: TN, alpha: alpha, a: a, b: b, add: true, c: c[0]}
	s := p.tiles()
	s.b, s.ldb = b.Data.Addr(), int32(b.Ld)
	of.launches(addresses(c), nil, func(x expertArguments) {
		expertTilesBF16.Launch(ptx.On(dev), expertKernelsBF16[TN], sumTiles(c[0], 128, 128, int(x.count)), &ptx.One[expertProductsBF16]{P: expertProductsBF16{s, x}})
	})
}
