package embed

import (
	"cmp"
	_ "embed"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed embed.sm80.ptx.br
var sm80 string

var family = ptx.New("embed", sm80)

// Parameters of the kernels of embed.cu.
type (
	gatherParameters struct {
		table, ids, out uintptr
		d               int32
	}
	backwardParameters struct {
		dout, rows, starts, tokens, dtable uintptr
		d                                  int32
	}
)

var (
	gathers   = ptx.Declare[gatherParameters](family, "embed_forward", "embed_forward_bf16")
	backwards = ptx.Declare[backwardParameters](family, "embed_backward")
)

func gatherPTX(dev driver.Launcher, kernel string, table uintptr, ids []int32, out driver.F32, d int) {
	q := ptx.On(dev)
	gathers.Launch(q, kernel, ptx.Grid(len(ids), 128), &gatherParameters{table: table, ids: ptx.Upload(q, ids), out: out.Addr(), d: int32(d)})
}

func backwardPTX(dev driver.Launcher, dout driver.F32, ids []int32, dtable driver.F32, d int) {
	q := ptx.On(dev)
	rows, starts, tokens := byID(ids)
	backwards.Launch(q, "embed_backward", ptx.Grid2(len(rows), ptx.Blocks(d, 512), 128), &backwardParameters{
		dout: dout.Addr(), rows: ptx.Upload(q, rows), starts: ptx.Upload(q, starts), tokens: ptx.Upload(q, tokens), dtable: dtable.Addr(), d: int32(d),
	})
}

// byID lists the distinct ids, and the tokens of rows[b] in order: tokens[starts[b]:starts[b+1]].
func byID(ids []int32) (rows, starts, tokens []int32) {
	tokens = make([]int32, len(ids))
	for t := range tokens {
		tokens[t] = int32(t)
	}
	slices.SortStableFunc(tokens, func(a, b int32) int { return cmp.Compare(ids[a], ids[b]) })
	for i, t := range tokens {
		if i == 0 || ids[t] != rows[len(rows)-1] {
			rows, starts = append(rows, ids[t]), append(starts, int32(i))
		}
	}
	return rows, append(starts, int32(len(ids))), tokens
}
