package dropout

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/philox"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed dropout.sm80.ptx.br
var sm80 string

var family = ptx.New("dropout", sm80)

// random is struct random of dropout.cu: the keys of Philox's ten rounds, and the stream.
type random struct {
	keys   philox.Keys
	stream uint32
}

// Parameters of the kernels of dropout.cu.
type (
	maskParameters struct {
		dst, src   uintptr
		random     random
		rows, cols int32
		threshold  uint32
		scale      float32
		add        int32
	}
	noiseParameters struct {
		x          uintptr
		random     random
		rows, cols int32
		magnitude  float32
	}
)

var (
	masks  = ptx.Declare[maskParameters](family, "dropout_mask")
	noises = ptx.Declare[noiseParameters](family, "dropout_noise")
)

func (k Key) random() random {
	return random{philox.Rounds(philox.Key(k.Seed)), k.Stream}
}

// grid has a warp per 256 columns of a row, eight warps per block.
func grid(rows, cols int) driver.Config {
	return ptx.Grid(ptx.Blocks(rows*ptx.Blocks(cols, 256), 8), 256)
}

func maskPTX(dev driver.Launcher, m mask, rows, cols int, src, dst driver.F32) {
	masks.Launch(ptx.On(dev), "dropout_mask", grid(rows, cols), &maskParameters{
		dst: dst.Addr(), src: src.Addr(), random: m.key.random(), rows: int32(rows), cols: int32(cols),
		threshold: m.threshold, scale: m.scale, add: ptx.Flag(m.add),
	})
}

func noisePTX(dev driver.Launcher, key Key, magnitude float32, rows, cols int, x driver.F32) {
	noises.Launch(ptx.On(dev), "dropout_noise", grid(rows, cols), &noiseParameters{
		x: x.Addr(), random: key.random(), rows: int32(rows), cols: int32(cols), magnitude: magnitude,
	})
}
