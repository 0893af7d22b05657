package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/treesum"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
	"dataflex.dev/dataflex/model/tensor"
)

// lanes are a run's logical ranks, as seen from this process: it computes the micro-batches
// of some consecutive lanes, and receives the results of the others. The sum of their
// gradients is computed in an order that only depends on the number of lanes: first the
// micro-batches of each lane, then the lanes in a tree. So its bits do not depend on which
// process computed what.
type lanes struct {
	job    *ranks.Job // nil: one process computes all
	per    int        // lanes per process
	params []*tensor.Param
	device driver.Device
	sum    *treesum.Reducer // nil: there is only one lane
	shares *shares          // nil: every process updates all parameters
	bytes  uint64           // size of the sums' memory on the device

	sharded *sharedGradients // nil: every process keeps whole gradients
	model   *decoder.Model   // whose weights the processes share out; nil: each has all of them
	ends    []int            // if whole gradients are added up: the parameters after which it is done apart
}

// followed reports whether a backward pass of all processes adds up gradients as it goes.
func (l *lanes) followed() bool { return l != nil && l.sharded != nil && l.sharded.handle != nil }

// newLanes allocates the memory of the sums, and that of the model's gradients if they are
// sharded.
func newLanes(c *config.Config, dev driver.Device, plan Plan, job *ranks.Job, model *decoder.Model, log *slog.Logger) (*lanes, error) {
	l := &lanes{job: job, per: plan.Ranks / job.Size(), params: model.Trainable(), device: dev}
	err := l.placeGradients(c, plan, model, log)
	if err == nil {
		err = l.allocate(c, plan)
	}
	if err == nil && l.sharded != nil {
		model.PlaceGradients(func(p *tensor.Param) driver.F32 { return p.Grad }, l.sharded)
	}
	if err == nil && model.SharesWeights() {
		err = l.keepWeights(model)
	}
	return l, err
}

// allocate takes the memory of the sums and of sharded gradients.
func (l *lanes) allocate(c *config.Config, plan Plan) error {
	if plan.Ranks == 1 {
		return nil
	}
	dev, job := l.device, l.job
	order, connection := treesum.Tree, job.Collective()
	if c.Training.Reduction == config.Fast {
		order = treesum.Library
	}
	if connection == nil {
		connection = driver.Solo(dev)
	}
	before := dev.Used()
	var err error
	if c.Training.Sharding.Stage > 0 && job.Size() > 1 {
		ends := l.ends
		if l.sharded != nil {
			ends = l.sharded.ends()
		}
		l.shares = newShares(l.params, job.Size(), job.Rank(), ends...)
		l.sum, err = treesum.NewShared(dev, connection, plan.Ranks, l.shares.cut, order)
	} else {
		size := 0
		for _, p := range l.params {
			size += p.Size()
		}
		l.sum, err = treesum.New(dev, connection, plan.Ranks, size, order)
	}
	l.bytes = dev.Used() - before
	if err == nil && l.sharded != nil {
		err = l.sharded.allocate(l.shares, l.params)
	}
	return err
}

func (l *lanes) close() {
	if l.sum != nil {
		l.sum.Close()
	}
	if l.sharded != nil {
		l.sharded.close()
	}
}

// process is the rank of the process that computes a lane.
func (l *lanes) process(lane int) int { return lane / l.per }

// own reports whether this process computes a lane.
func (l *lanes) own(lane int) bool { return l.process(lane) == l.job.Rank() }

// each computes the gradients of this process's lanes, one lane after another; the last
// one's stays in the parameters until it is replaced by the sum of all. Sharded gradients are
// added up in the meantime.
func (l *lanes) each(ctx context.Context, gradient func(lane int) error) error {
	first := l.job.Rank() * l.per
	if l.sharded != nil {
		if err := l.job.Agree(ctx, "the step", nil); err != nil { // a rank that has failed sends no gradients
			return err
		}
		return l.sharded.during(func(u *unit) error { return l.add(ctx, u) }, func() error {
			err := task.Catch(func() error { return gradient(first) })
			if l.model != nil && !l.sharded.passed { // the other processes make a pass
				err = errors.Join(err, l.model.RunIdleBackward())
			}
			return err
		})
	}
	for lane := first; lane < first+l.per; lane++ {
		clearGradients(l.device, l.params)
		if err := gradient(lane); err != nil {
			return err
		}
		if lane < first+l.per-1 {
			if err := l.sum.Add(l.gradients()...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lanes) gradients() []driver.F32 {
	out := make([]driver.F32, len(l.params))
	for i, p := range l.params {
		out[i] = p.Grad
	}
	return out
}

// add adds up the gradients of a unit over the processes.
func (l *lanes) add(ctx context.Context, u *unit) error {
	for _, r := range u.runs {
		if err := l.job.Move(ctx, "adding the gradients", func(ctx context.Context) error { return l.sum.SumOf(ctx, r.lo, r.whole, r.own) }); err != nil {
			return err
		}
	}
	return nil
}

// alone makes a gradient by pass on this process alone, and reports whether it is finite.
func (l *lanes) alone(pass func() error) (ok bool, err error) {
	if l.sharded == nil {
		clearGradients(l.device, l.params)
		err := pass()
		return err == nil && finite(optim.GradNorm(l.device, l.params)), err
	}
	ok = true
	err = l.sharded.during(func(u *unit) error {
		ok = ok && finite(optim.GradNorm(l.device, u.params))
		return nil
	}, pass)
	return ok, err
}

// summed are the gradients of the step as this process has them: whole, or its parts.
func (l *lanes) summed() (list []*tensor.Param) {
	if l.sharded == nil {
		return l.params
	}
	for _, parts := range l.shares.parts {
		for _, part := range parts {
			list = append(list, part.View)
		}
	}
	return list
}

// reduce computes the sum of all lanes' gradients in the parameters of every process; if
// they shard the optimizer's state, in its own parts of them. Sharded gradients are added up
// already.
func (l *lanes) reduce(ctx context.Context) error {
	if l.sum == nil || l.sharded != nil {
		return nil
	}
	return l.job.Move(ctx, "adding the gradients", func(ctx context.Context) error { return l.sum.Sum(ctx, l.gradients()...) })
}

// drop discards the lanes' gradients of a step that is repeated.
func (l *lanes) drop() {
	if l.sum != nil {
		l.sum.Reset()
	}
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
	if len(params) == 0 {
		return nil
	}
	return l.job.Move(ctx, what, func(ctx context.Context) error { return l.gather(ctx, params) })
}

// gather makes together's calls.
func (l *lanes) gather(ctx context.Context, params []*tensor.Param) error {
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
		if err := l.sum.Gather(ctx, l.shares.cut.Start(first), own, to); err != nil {
			return err
		}
		params = params[n:]
	}
	return nil
}

// share sends the tokens' losses of all micro-batches to every process and, unless returned
// is nil, their shares of the step's loss; each process has those of its own lanes. err is
// this process's error.
func (l *lanes) share(ctx context.Context, what string, s *curriculum.Step, tokenLoss [][]float32, returned []float64, err error) error {
	if l.job == nil {
		return err
	}
	check, name := l.weightsCheck(s.Index)
	own := ranks.Pack([]float64{float64(check)})
	for i := range s.Micros {
		if l.own(s.Ranks[i]) && err == nil {
			own = append(own, ranks.Pack(tokenLoss[i])...)
			if returned != nil {
				own = append(own, ranks.Pack(returned[i:i+1])...)
			}
		}
	}
	all, err := l.job.Gather(ctx, what, own, err)
	if err != nil {
		return err
	}
	for rank, b := range all {
		theirs := make([]float64, 1)
		if len(b) < 8 || ranks.Unpack(b[:8], theirs) != nil || theirs[0] != float64(check) {
			return spoilt{fmt.Errorf("step %d: rank %d holds other weights than rank %d, in %s: a memory, a processor or a GPU computes wrongly, or they are of different kinds", s.Index+1, rank, l.job.Rank(), name)}
		}
		all[rank] = b[8:]
	}
	for i, m := range s.Micros {
		rank := l.process(s.Ranks[i])
		tokens := 4 * len(m.Tokens)
		size := tokens
		if returned != nil {
			size += 8
		}
		if len(all[rank]) < size {
			return fmt.Errorf("step %d: rank %d has said nothing of micro-batch %d", s.Index+1, rank, i)
		}
		tokenLoss[i] = make([]float32, len(m.Tokens))
		err := ranks.Unpack(all[rank][:tokens], tokenLoss[i])
		if returned != nil {
			err = errors.Join(err, ranks.Unpack(all[rank][tokens:size], returned[i:i+1]))
		}
		if err != nil {
			return err
		}
		all[rank] = all[rank][size:]
	}
	return nil
}

// checked is the number of weights of a tensor that processes compare at a step.
const checked = 1 << 14

// weightsCheck is a checksum of some of the weights, of another tensor at every step: the
// processes' copies must be equal, and nothing synchronises them again.
func (l *lanes) weightsCheck(step int) (sum uint32, name string) {
	if len(l.params) == 0 {
		return 0, ""
	}
	p := l.params[step%len(l.params)]
	if p.Sharded() { // there is one of each
		return 0, p.Name
	}
	values, err := driver.Read(l.device, p.Data.Sub(0, min(p.Data.Len(), checked)))
	if err != nil {
		return 0, p.Name // the device's fault is reported by the next kernel
	}
	return crc32.ChecksumIEEE(ranks.Pack(values)), p.Name
}

// rowAt is a row of a micro-batch of a step.
type rowAt struct{ Micro, Row int }

// rows sends the rows that each process has found to all, in the step's order.
func (l *lanes) rows(ctx context.Context, what string, own []rowAt, err error) (out []rowAt, _ error) {
	all, err := ranks.Share(ctx, l.job, what, own, err)
	if err != nil {
		return nil, err
	}
	out = slices.Concat(all...)
	slices.SortStableFunc(out, func(a, b rowAt) int { return cmp.Compare(a.Micro, b.Micro) })
	return out, nil
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
	}, func(what string, params []*tensor.Param) func() error {
		return l.job.Start("gathering the weights of "+what, func(ctx context.Context) func() error {
			return beside(l.device, func() error { return l.gather(ctx, params) })
		})
	})
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

// shared reports whether processes shard the optimizer's state: a checkpoint of it needs all
// of them.
func (l *lanes) shared() bool { return l.shares != nil }
