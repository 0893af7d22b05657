package quant

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed product.sm80.ptx.br
var productSM80 string

//go:embed product_bf16.sm80.ptx.br
var bf16SM80 string

//go:embed product_bf16.sm90a.ptx.br
var bf16SM90a string

var (
	productFamily = ptx.New("quant, products", productSM80)
	bf16Family    = ptx.New("quant, bf16 products", bf16SM80)
	hopperFamily  = ptx.New("quant, bf16 products for Hopper", bf16SM90a)
)

// coded is struct coded_problem of the kernels.
type coded[Problem any] struct {
	p Problem
	w codes
}

// hopperParameters are those of the kernels of product_bf16.sm90a.cu.
type hopperParameters struct {
	a, u, l driver.EncodedTensorMap
	q       coded[gemm.ProductHopper]
}

var (
	products     = ptx.Declare[ptx.One[coded[gemm.Product]]](productFamily, "quant_*")
	productsBF16 = ptx.Declare[ptx.One[coded[gemm.ProductBF16]]](bf16Family, "quant_bf16_*")
	productsWide = ptx.Declare[hopperParameters](hopperFamily, "quant_bf16_*")
)

// The kernels by tile and transpose.
type kernels [2]string

var (
	productKernels = map[[2]int]kernels{
		{128, 128}: {gemm.NN: "quant_nn_128x128", gemm.NT: "quant_nt_128x128"},
		{64, 64}:   {gemm.NN: "quant_nn_64x64", gemm.NT: "quant_nt_64x64"},
		{128, 32}:  {gemm.NN: "quant_nn_128x32", gemm.NT: "quant_nt_128x32"},
		{32, 128}:  {gemm.NN: "quant_nn_32x128", gemm.NT: "quant_nt_32x128"},
	}
	bf16Kernels   = kernels{gemm.NN: "quant_bf16_nn", gemm.NT: "quant_bf16_nt"}
	branchKernels = kernels{gemm.NN: "quant_bf16_nn_branch", gemm.NT: "quant_bf16_nt_branch"}
	hopperKernels = map[int]kernels{
		256: {gemm.NN: "quant_bf16_nn_256", gemm.NT: "quant_bf16_nt_256"},
		128: {gemm.NN: "quant_bf16_nn_128", gemm.NT: "quant_bf16_nt_128"},
	}
)

// groups reports whether rows are groups of 8 elements whose codes begin on 4 bytes: what the
// kernels decode at a time.
func (w *Matrix) groups() bool {
	return w.Rows > 0 && w.Cols > 0 && w.Cols%8 == 0 && w.Codes.Addr()%4 == 0
}

func (w *Matrix) multiplyPTX(dev driver.Launcher, tr gemm.Transpose, alpha float32, a gemm.F32, beta float32, c gemm.F32) {
	rows, columns := gemm.TileSize(c.Rows, c.Cols)
	w.multiplyTiles(dev, rows, columns, tr, alpha, a, beta, c)
}

// multiplyTiles is multiplyPTX in tiles of that size.
func (w *Matrix) multiplyTiles(dev driver.Launcher, rows, columns int, tr gemm.Transpose, alpha float32, a gemm.F32, beta float32, c gemm.F32) {
	p := gemm.ProductWithoutB(tr, alpha, a, w.Rows, w.Cols, beta, c)
	grid := driver.Config{Grid: driver.Dim{X: ptx.Blocks(c.Cols, columns), Y: ptx.Blocks(c.Rows, rows)}, Block: driver.Dim{X: 256}}
	if c.Rows > 0 {
		products.Launch(ptx.On(dev), productKernels[[2]int{rows, columns}][tr], grid, &ptx.One[coded[gemm.Product]]{P: coded[gemm.Product]{p, w.codes()}})
	}
}

const (
	unaligned = "quant: bf16 products want rows, of a multiple of 8 elements"
	// tablesSize is the shared memory of the tables, behind the ring of tile_hopper.cuh.
	tablesSize = 4 * (tableSize + mapSize)
)

// multiplyBF16PTX is C = alpha (A op(W) + U op(L)) + beta C; without a branch U is nil.
func (w *Matrix) multiplyBF16PTX(dev driver.Launcher, tr gemm.Transpose, alpha float32, a, u, l gemm.BF16, beta float32, c gemm.F32) {
	if !w.groups() {
		panic(unaligned)
	}
	if c.Rows == 0 {
		return
	}
	if ptx.Hopper(dev) {
		x := gemm.NewHopperWithoutB(dev, tr, alpha, a, w.Rows, w.Cols, u, l, beta, c)
		x.Grid.Shared += tablesSize
		productsWide.Launch(ptx.On(dev), hopperKernels[x.Columns][tr], x.Grid, &hopperParameters{x.A, x.U, x.L, coded[gemm.ProductHopper]{x.P, w.codes()}})
		return
	}
	kernel := bf16Kernels[tr]
	if !u.IsNil() {
		kernel = branchKernels[tr]
	}
	p := gemm.ProductBF16WithoutB(tr, alpha, a, w.Rows, w.Cols, u, l, beta, c)
	productsBF16.Launch(ptx.On(dev), kernel, gemm.GridBF16(c.Rows, c.Cols), &ptx.One[coded[gemm.ProductBF16]]{P: coded[gemm.ProductBF16]{p, w.codes()}})
}
