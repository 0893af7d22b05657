package tensor

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
)

// packer is a weight that can be packed on a host for all products with it, until its
// numbers change.
type packer interface {
	packedSize() int                           // what its packed form takes now
	panelBytes(dev driver.Device, s shape) int // and would take; 0: it is not packed on dev
	pack(dev *cpu.Device, s shape) error
	unpack(dev driver.Device)
}

// PanelBytes is the memory that Pack would take of dev for p: none where p trains, is no
// matrix with memory of its own, is packed already, or is multiplied as it lies on dev.
func (p *Param) PanelBytes(dev driver.Device) int {
	w, packs := p.weight.(packer)
	if !packs || p.Trainable() || len(p.Shape) != 2 || w.packedSize() > 0 {
		return 0
	}
	return w.panelBytes(dev, p.shape())
}

// Pack packs a frozen matrix on the host for all products with it, until it is written to or
// trains. The bits are the same; elsewhere nothing happens.
func (p *Param) Pack(dev driver.Device) error {
	host, ok := dev.(*cpu.Device)
	if !ok || p.PanelBytes(dev) == 0 {
		return nil
	}
	return p.weight.(packer).pack(host, p.shape())
}

// unpack forgets the packed form, which is not that of the numbers any more.
func (p *Param) unpack(dev driver.Device) {
	if w, packs := p.weight.(packer); packs {
		w.unpack(dev)
	}
}

// MultiplyLowRank is A op(W) + beta C with l beside it, as gemm.RunLowRank. It reports
// whether p is packed for that: nothing is computed where it is not.
func (p *Param) MultiplyLowRank(dev driver.Device, tr gemm.Transpose, a gemm.F32, l gemm.LowRank, beta float32, c gemm.F32) bool {
	w, plain := p.weight.(*float32s)
	if !plain {
		return false
	}
	host, packed := w.packedFor(dev, tr)
	if packed == nil {
		return false
	}
	gemm.RunLowRank(host, tr, a, packed, l, beta, c)
	return true
}
