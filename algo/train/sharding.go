package train

import (
	"dataflex.dev/dataflex/algo/config"
)

// settleSharding determines what the processes of a run shard, when their number is known,
// and refuses what contradicts the run.
func settleSharding(c *config.Config, o Options) error {
	t, s := c.Training, c.Training.Sharding
	if rows := t.PerDeviceTrainBatchSize * t.GradientAccumulationSteps * max(1, t.Ranks); s.BatchSize != 0 && s.BatchSize != rows {
		return c.Errorf(s.Key, "train_batch_size is %d, and a step takes %d rows: per_device_train_batch_size %d, gradient_accumulation_steps %d, ranks %d: write \"auto\"",
			s.BatchSize, rows, t.PerDeviceTrainBatchSize, t.GradientAccumulationSteps, max(1, t.Ranks))
	}
	switch {
	case s.Stage == 0:
	case o.processes() == 1:
		o.Log.Info("there is nothing to share out: one process trains", s.Key, s.Stage)
	case s.Stage > 2 && c.Model.ResizeVocab:
		return c.Errorf("resize_vocab", "embeddings that are shared out among processes (%s, stage 3) do not grow: shard the optimizer's state and the gradients alone, stage 2", s.Key)
	}
	return nil
}
