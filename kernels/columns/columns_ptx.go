package columns

import (
	_ "embed"
	"encoding/binary"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed columns.sm80.ptx
var sm80 string

var family = ptx.New("columns", sm80)

// launch runs a kernel of columns.cu on columns [from, from+n) of wide [rows, width].
func launch(dev driver.Launcher, kernel string, narrow driver.F32, n int, wide driver.F32, width, from, rows int) {
	q := ptx.On(dev)
	var b [32]byte // struct columns
	binary.LittleEndian.PutUint64(b[:], uint64(narrow.Addr()))
	binary.LittleEndian.PutUint64(b[8:], uint64(wide.Addr())+4*uint64(from))
	for i, v := range [...]int{rows, n, width} {
		binary.LittleEndian.PutUint32(b[16+4*i:], uint32(v))
	}
	q.Launch(family, kernel, ptx.Grid(ptx.Blocks(rows*ptx.Blocks(n, 4), 256), 256), q.Args().Bytes(b[:], 8))
}
