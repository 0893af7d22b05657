package gradproj

import (
	"testing"

	"dataflex.dev/dataflex/driver"
)

// goldenSigns are columns 0 … 15 of rows 64t … 64t+63 of the matrix of seed 42, row 64t in
// bit 0: worked out by an implementation of Philox4x32-10 in Python that gives Random123's
// known answers.
var goldenSigns = map[int][16]uint64{
	0: {
		0x42d7bfadf53bea53, 0x2c9c683851139369, 0x1db5ef5a2e66fea6, 0x20c71859149151b2, 0x8c899993fc530111, 0x5a1c22a5b7b483df, 0xec8d8d86e2d47a3e, 0x73d37e3554ccee2c,
		0x57b3125077499cf0, 0xb6403bb020e90237, 0xb1e86b1d85586570, 0x995bb9c6728a0aa6, 0x2e1e1313bd402819, 0xdfef7b28689c7b5a, 0xbd1ae2c6a7bcbcb4, 0x55986ccae510676f,
	},
	3: {
		0x0ef71e43afabc775, 0x0b4bd82c3abf8dc5, 0xf2b2cb8de73b1241, 0x5d0a637b3e860a33, 0x97df9693f0119449, 0xb9ebf2e51cecea18, 0x6768263eb2d6a9ed, 0xd7ce478942785bda,
		0x61679655ab0dba04, 0x08603646ae5a1ec7, 0x1b714505f0770d65, 0x5cfbe3bab8953dcc, 0x913a897389ff33cc, 0x5dcab3903fb0a2c9, 0x3c594fda317ec7ea, 0xfcd387d57ed594ca,
	},
}

// checkSigns projects powers of two, 16 rows at a time, to 16 columns: the signs are the
// binary digits of the sums.
func checkSigns(t *testing.T, dense func(p *Projection, g []float32, row int) []float32) {
	t.Helper()
	p := mustNew(t, Rademacher, 16, 1<<10, Options{})
	g := make([]float32, 16)
	for i := range g {
		g[i] = float32(int(1) << i)
	}
	for tile, columns := range goldenSigns {
		for row := 0; row < 64; row += 16 {
			for c, v := range dense(p, g, 64*tile+row) {
				// v is the signed sum times 1/√16.
				if got, want := (int(4*v)+1<<16-1)/2, int(columns[c]>>row&0xffff); got != want {
					t.Errorf("rows %d …, column %d: signs %016b, not %016b", 64*tile+row, c, got, want)
				}
			}
		}
	}
}

// TestGoldenSigns: R is the recorded one, on the CPU and on devices.
func TestGoldenSigns(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		checkSigns(t, func(p *Projection, g []float32, row int) []float32 { return denseCPU(p, g, row, nil) })
	})
	eachDevice(t, func(t *testing.T, dev driver.Launcher) {
		checkSigns(t, func(p *Projection, g []float32, row int) []float32 { return densePTX(t, dev, p, g, row, nil) })
	})
}
