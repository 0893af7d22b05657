package router

import (
	_ "embed"
	"encoding/binary"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed router.sm80.ptx
var sm80 string

var family = ptx.New("router", sm80)

// rowThreads is the block of the kernels that move rows.
const rowThreads = 128

// forwardPTX waits for the choices: the host plans by them.
func forwardPTX(dev driver.Launcher, p Params, logits, probs driver.F32, choice []int32, weight driver.F32) {
	if len(choice) == 0 {
		return
	}
	q := ptx.On(dev)
	chosen := q.Scratch(0, 4*len(choice))
	q.Launch(family, "router_forward", ptx.Grid(ptx.Blocks(p.Tokens, 8), 256),
		q.Args().Bytes(p.pack(logits.Addr(), probs.Addr(), chosen, weight.Addr()), 8))
	q.Read(unsafe.Slice((*byte)(unsafe.Pointer(&choice[0])), 4*len(choice)), chosen)
}

func backwardPTX(dev driver.Launcher, p Params, probs driver.F32, choice []int32, weight, dweight driver.F32, balance []float32, dlogits driver.F32) {
	q := ptx.On(dev)
	var slope uintptr
	if balance != nil {
		slope = ptx.Upload(q, balance)
	}
	chosen := ptx.Upload(q, choice)
	q.Launch(family, "router_backward", ptx.Grid(ptx.Blocks(p.Tokens, 8), 256),
		q.Args().Bytes(p.pack(probs.Addr(), chosen, weight.Addr(), dweight.Addr(), slope, dlogits.Addr()), 8))
}

// pack is struct gate or gate_gradient of router.cu.
func (p Params) pack(addresses ...uintptr) []byte {
	b := make([]byte, 0, 64)
	for _, a := range addresses {
		b = binary.LittleEndian.AppendUint64(b, uint64(a))
	}
	normalize := 0
	if p.Normalize {
		normalize = 1
	}
	for _, v := range [...]int{p.Tokens, p.Experts, p.TopK, normalize} {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	return b
}

func dispatchPTX(dev driver.Launcher, plan Plan, x, out driver.F32, d int) {
	q := ptx.On(dev)
	from := ptx.Upload(q, plan.Token)
	q.Launch(family, "router_dispatch", ptx.Grid(len(plan.Token), rowThreads),
		q.Args().Addr(out.Addr()).Addr(x.Addr()).Addr(from).I32(int32(d)))
}

// combinePTX sums a token's rows, all of weight 1 where weight is nil.
func combinePTX(dev driver.Launcher, plan Plan, y, weight, out driver.F32, d int) {
	q := ptx.On(dev)
	slot := ptx.Upload(q, plan.Slot)
	q.Launch(family, "router_combine", ptx.Grid(len(plan.Slot)/plan.TopK, rowThreads),
		q.Args().Addr(out.Addr()).Addr(y.Addr()).Addr(slot).Addr(weight.Addr()).I32(int32(plan.TopK)).I32(int32(d)))
}

func combineBackwardPTX(dev driver.Launcher, plan Plan, dout, y, weight, dy, dweight driver.F32, d int) {
	q := ptx.On(dev)
	slot := ptx.Upload(q, plan.Slot)
	q.Launch(family, "router_combine_backward", ptx.Grid(len(plan.Slot), rowThreads), q.Args().Addr(dy.Addr()).Addr(dweight.Addr()).
		Addr(dout.Addr()).Addr(y.Addr()).Addr(slot).Addr(weight.Addr()).I32(int32(plan.TopK)).I32(int32(d)))
}

func gatePTX(dev driver.Launcher, x, gate, out driver.F32, d int) {
	q := ptx.On(dev)
	q.Launch(family, "router_gate", ptx.Grid(gate.Len(), rowThreads), q.Args().Addr(out.Addr()).Addr(x.Addr()).Addr(gate.Addr()).I32(int32(d)))
}

func gateBackwardPTX(dev driver.Launcher, dout, x, gate, dx, dgate driver.F32, d int) {
	q := ptx.On(dev)
	q.Launch(family, "router_gate_backward", ptx.Grid(gate.Len(), rowThreads),
		q.Args().Addr(dx.Addr()).Addr(dgate.Addr()).Addr(dout.Addr()).Addr(x.Addr()).Addr(gate.Addr()).I32(int32(d)))
}
