package train

import (
	"context"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/treesum"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
	"dataflex.dev/dataflex/model/tensor"
)

// shares are the parts of the parameters that each process of a run updates, as
// treesum.Shares divides them. A process has the sum of the gradients of its parts and keeps
// their optimizer state; after an update it sends its weights to the others.
type shares struct {
	cut   *treesum.Shares
	order map[*tensor.Param]int // index of each parameter
	parts [][]optim.Part        // this process's, of every parameter
}

// newShares divides the parameters among the processes; what lies between two of ends is
// added up by itself.
func newShares(params []*tensor.Param, processes, rank int, ends ...int) *shares {
	lengths := make([]int, len(params))
	s := &shares{order: map[*tensor.Param]int{}, parts: make([][]optim.Part, len(params))}
	for i, p := range params {
		lengths[i], s.order[p] = p.Size(), i
	}
	s.cut = treesum.NewShares(lengths, processes, ends...)
	for _, part := range s.cut.Of(rank) {
		p := params[part.Vector]
		view := &tensor.Param{Name: fmt.Sprintf("%s[%d:%d]", p.Name, part.From, part.To), Shape: []int{part.To - part.From}}
		view.View(p, part.From)
		s.parts[part.Vector] = append(s.parts[part.Vector], optim.Part{From: part.From, View: view})
	}
	return s
}

// Parts implements optim.Shares.
func (l *lanes) Parts(p *tensor.Param) []optim.Part { return l.shares.parts[l.shares.order[p]] }

// Writes implements optim.Shares.
func (l *lanes) Writes() bool { return l.job.First() }

// Gather implements optim.Shares.
func (l *lanes) Gather(p *tensor.Param, own []driver.F32, to driver.F32) error {
	at := l.shares.cut.Start(l.shares.order[p])
	return l.job.Move(context.Background(), "the optimizer's shares", func(ctx context.Context) error {
		return l.sum.Gather(ctx, at, own, []driver.F32{to})
	})
}

// own returns a tensor for each of this process's parts, in order.
func (s *shares) own(of func(*tensor.Param) driver.F32) (out []driver.F32) {
	for _, parts := range s.parts {
		for _, part := range parts {
			out = append(out, of(part.View))
		}
	}
	return out
}

// norm is the norm of the summed gradient.
func (l *lanes) norm(ctx context.Context) (float64, error) {
	if l.shares == nil {
		return optim.GradNorm(l.device, l.params), nil
	}
	var leaves []float64
	for _, list := range reduce.Leaves(l.device, l.shares.own(func(p *tensor.Param) driver.F32 { return p.Grad })...) {
		leaves = append(leaves, list...)
	}
	all, err := l.job.Gather(ctx, "the gradient's length", ranks.Pack(leaves), nil)
	if err != nil {
		return 0, err
	}
	return l.normOf(all)
}

// normOf puts the leaves of all processes into the order of the parameters, whose sums of
// squares then have the same bits as with one process.
func (l *lanes) normOf(all [][]byte) (float64, error) {
	leaves := make([][]float64, len(l.params))
	for i, p := range l.params {
		leaves[i] = make([]float64, reduce.LeavesOf(p.Size()))
	}
	for rank, raw := range all {
		var into [][]float64
		for _, part := range l.shares.cut.Of(rank) {
			from := part.From / reduce.Leaf
			into = append(into, leaves[part.Vector][from:from+reduce.LeavesOf(part.To-part.From)])
		}
		if err := ranks.Unpack(raw, into...); err != nil {
			return 0, err
		}
	}
	var sum float64
	for _, s := range reduce.SumOfLeaves(l.device, leaves...) {
		sum += s
	}
	return math.Sqrt(sum), nil
}

// step updates the weights. If processes shard the optimizer's state, each updates its own
// parts, reports whether it succeeded, and then sends its weights to the others.
func (l *lanes) step(ctx context.Context, move func()) error {
	if l.shares == nil {
		move()
		return nil
	}
	err := task.Catch(func() error { move(); return nil })
	if err := l.job.Agree(ctx, "the update", err); err != nil {
		return err
	}
	whole := slices.DeleteFunc(slices.Clone(l.params), (*tensor.Param).Sharded)
	if err := l.together(ctx, "the weights", whole); err != nil {
		return err
	}
	for _, p := range whole {
		p.Sync(l.device)
	}
	if l.model != nil {
		l.model.ForgetWeights()
	}
	return nil
}

// together overwrites parameters, listed in their order, with the parts of them that all
// processes have stepped.
func (l *lanes) together(ctx context.Context, what string, params []*tensor.Param) error {
	for len(params) > 0 {
		first, n := l.shares.order[params[0]], 0
		var own, to []driver.F32
		for n < len(params) && l.shares.order[params[n]] == first+n {
			for _, part := range l.shares.parts[first+n] {
				own = append(own, part.View.Data)
			}
			to = append(to, params[n].Data)
			n++
		}
		if err := l.job.Move(ctx, what, func(ctx context.Context) error { return l.sum.Gather(ctx, l.shares.cut.Start(first), own, to) }); err != nil {
			return err
		}
		params = params[n:]
	}
	return nil
}

// keepWeights has the weights that train, and that the processes share out, kept as the parts
// that each of them steps.
func (l *lanes) keepWeights(model *decoder.Model) error {
	l.model = model
	return model.KeepInParts(func(p *tensor.Param) (parts []decoder.WeightPart) {
		for _, part := range l.Parts(p) {
			parts = append(parts, decoder.WeightPart{From: part.From, To: part.From + part.View.Size()})
		}
		return parts
	}, func(p *tensor.Param, parts []decoder.WeightPart) {
		for i, part := range l.Parts(p) {
			part.View.BindTrained(parts[i].Values)
		}
	}, func(what string, params []*tensor.Param) error {
		return l.together(context.Background(), "gathering the weights of "+what, params)
	})
}

// shared reports whether processes shard the optimizer's state: a checkpoint of it needs all
// of them.
func (l *lanes) shared() bool { return l.shares != nil }
