package train

import (
	"context"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/model/decoder"
)

// shardWeights is how the processes of a run share the model's weights out at stage 3; nil where
// each has all of them.
func shardWeights(c *config.Config, job *ranks.Job, dev driver.Device) *decoder.Shards {
	if c.Training.Sharding.Stage < 3 || job.Size() == 1 {
		return nil
	}
	s := &decoder.Shards{Rank: job.Rank(), Of: job.Size()}
	if _, counts := dev.(*plan.Device); counts {
		return s
	}
	s.Gather = func(what string, own, all driver.F32) func() error {
		return job.Start("gathering the weights of "+what, func(ctx context.Context) func() error {
			return beside(dev, func() error { return job.Collective().AllGather(ctx, own, all) })
		})
	}
	s.Take = func(turn uint32, do func() error) error { return job.Take(ranks.Turn(turn), do) }
	return s
}

// beside runs calls of the collective beside what the device computes where several goroutines may
// use it, as they may a CPU; elsewhere it returns when they are done.
func beside(dev driver.Device, calls func() error) (wait func() error) {
	if dev.Kind() == driver.CPU {
		return ranks.Aside(calls)
	}
	err := calls()
	return func() error { return err }
}
