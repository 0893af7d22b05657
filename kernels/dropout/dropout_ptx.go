package dropout

import (
	_ "embed"
	"encoding/binary"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed dropout.sm80.ptx
var sm80 string

var family = ptx.New("dropout", sm80)

// pack is struct random of dropout.cu: the keys of Philox's ten rounds, and the stream.
func (k Key) pack() []byte {
	var b [84]byte
	k0, k1 := uint32(k.Seed), uint32(k.Seed>>32)
	for round := range 10 {
		binary.LittleEndian.PutUint32(b[8*round:], k0)
		binary.LittleEndian.PutUint32(b[8*round+4:], k1)
		k0, k1 = k0+weyl0, k1+weyl1
	}
	binary.LittleEndian.PutUint32(b[80:], k.Stream)
	return b[:]
}

// grid has a warp for 256 columns of a row, eight warps a block.
func grid(rows, cols int) driver.Config {
	return ptx.Grid(ptx.Blocks(rows*ptx.Blocks(cols, 256), 8), 256)
}

func maskPTX(dev driver.Launcher, m mask, rows, cols int, src, dst driver.F32) {
	add := int32(0)
	if m.add {
		add = 1
	}
	q := ptx.On(dev)
	q.Launch(family, "dropout_mask", grid(rows, cols), q.Args().Addr(dst.Addr()).Addr(src.Addr()).Bytes(m.key.pack(), 4).
		I32(int32(rows)).I32(int32(cols)).U32(m.threshold).F32(m.scale).I32(add))
}

func noisePTX(dev driver.Launcher, key Key, magnitude float32, rows, cols int, x driver.F32) {
	q := ptx.On(dev)
	q.Launch(family, "dropout_noise", grid(rows, cols), q.Args().Addr(x.Addr()).Bytes(key.pack(), 4).
		I32(int32(rows)).I32(int32(cols)).F32(magnitude))
}
