package dev_test

import (
	_ "embed"
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed cluster.sm90a.ptx.br
var clusterProbe string

type clusterParameters struct {
	x   driver.EncodedTensorMap
	out uintptr
}

var clusterProbes = ptx.Declare[clusterParameters](ptx.New("cluster probe", clusterProbe), "probe_cluster")

// TestClusterLayout: a multicast puts the box at the same place of each block that it names,
// with the swizzle of hopper.cuh, and nowhere else.
func TestClusterLayout(t *testing.T) {
	dev := optest.Device(t, 90)
	const box = 64 * 64
	x, r := make([]float32, 4*box), optest.Rand(6)
	for i := range x {
		x[i] = math.Float32frombits(uint32(r.IntN(0x7f80)) << 16)
	}
	const words = box // of two boxes, two elements each
	out := optest.In(t, dev, make([]float32, 4*words), 0)
	p := clusterParameters{x: ptx.On(dev).Tiles(halves(t, dev, x), 256, 64, 64, 64), out: out.Addr()}
	cfg := ptx.Grid(2, 128)
	cfg.Shared = 2*2*box + 16
	clusterProbes.Launch(ptx.On(dev), "probe_cluster", cfg, &p)
	got := optest.Out(t, dev, out)
	for block := range 2 {
		for round := range 2 {
			for slot := range 2 {
				from := slot
				if round == 1 && slot != block { // from the other block, for this one alone
					from = 2 + slot
				}
				for i := range box / 2 {
					row, chunk, in := i/32, i%32/4, i%4
					e := from*box + row*64 + (chunk^row%8)*8 + in*2
					want := math.Float32bits(x[e])>>16 | math.Float32bits(x[e+1])
					at := (2*block+round)*words + slot*box/2 + i
					if math.Float32bits(got[at]) != want {
						t.Fatalf("block %d, round %d, box %d, word %d: %08x, want %08x", block, round, slot, i, math.Float32bits(got[at]), want)
					}
				}
			}
		}
	}
}
