package tensor

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
)

// packer is a weight that can be packed on a host for all products with it, until its
// numbers change.
type packer interface {
	packedSize() int                           // size of the packed form now
	panelBytes(dev driver.Device, s shape) int // size that it would have; 0: it is not packed on dev
	pack(dev *cpu.Device, s shape) error
	unpack(dev driver.Device)
}

// PanelBytes is the memory of dev that Pack would take for p: none if p is trained, is not a
// matrix with memory of its own, is packed already, or is not packed on dev.
func (p *Param) PanelBytes(dev driver.Device) int {
	w, packs := p.weight.(packer)
	if !packs || p.Trainable() || len(p.Shape) != 2 || w.packedSize() > 0 {
		return 0
	}
	return w.panelBytes(dev, p.shape())
}

// Pack packs a frozen matrix on the host for all products with it, until it is written to or
// trained. The bits are the same; on other devices it does nothing.
func (p *Param) Pack(dev driver.Device) error {
	host, ok := dev.(*cpu.Device)
	if !ok || p.PanelBytes(dev) == 0 {
		return nil
	}
	return p.weight.(packer).pack(host, p.shape())
}

// unpack drops the packed form, because the numbers change.
func (p *Param) unpack(dev driver.Device) {
	if w, packs := p.weight.(packer); packs {
		w.unpack(dev)
	}
}

// MultiplyLowRank is A op(W) + beta C with the branch l, as gemm.RunLowRank. It reports
// whether p is packed for that; if not, nothing is computed.
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
