// Package embed looks up token embeddings.
//
// table, dtable are float32 [V, d], or bf16 where stated; ids are T token numbers in [0, V)
// on the host; out, dout are float32 [T, d]. An id outside the table panics: the caller has
// checked its tokens against the model's vocabulary.
package embed

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Forward overwrites out[t] with table[ids[t]].
func Forward(dev driver.Device, table driver.F32, ids []int32, out driver.F32, d int) {
	check(table.Len(), ids, out, d)
	dispatch.Run(dev, "embed.Forward", func(c *cpu.Device) {
		forwardCPU(c, table.Host(), ids, out.Host(), d)
	}, func(c driver.Launcher) {
		gatherPTX(c, "embed_forward", table.Addr(), ids, out, d)
	})
}

// ForwardBF16 is Forward for a table in bf16; out is float32, and exact.
func ForwardBF16(dev driver.Device, table driver.Slice[driver.BF16], ids []int32, out driver.F32, d int) {
	check(table.Len(), ids, out, d)
	dispatch.Run(dev, "embed.ForwardBF16", func(c *cpu.Device) {
		forwardBF16CPU(c, table.Host(), ids, out.Host(), d)
	}, func(c driver.Launcher) {
		gatherPTX(c, "embed_forward_bf16", table.Addr(), ids, out, d)
	})
}

// Backward adds dout[t] to dtable[ids[t]], for t in order: the bits are the same
// for every number of threads.
func Backward(dev driver.Device, dout driver.F32, ids []int32, dtable driver.F32, d int) {
	check(dtable.Len(), ids, dout, d)
	dispatch.Run(dev, "embed.Backward", func(c *cpu.Device) {
		backwardCPU(c, dout.Host(), ids, dtable.Host(), d)
	}, func(c driver.Launcher) {
		backwardPTX(c, dout, ids, dtable, d)
	})
}

func check(table int, ids []int32, out driver.F32, d int) {
	if d < 1 {
		panic("embed: d < 1")
	}
	if table%d != 0 {
		panic("embed: the table is not [V, d]")
	}
	if out.Len() != len(ids)*d {
		panic("embed: out is not [T, d]")
	}
	v := table / d
	for t, id := range ids {
		if id < 0 || int(id) >= v {
			panic(fmt.Sprintf("embed: ids[%d] = %d, the table has %d rows", t, id, v))
		}
	}
}
