package train

import (
	"log/slog"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/optim"
	"dataflex.dev/dataflex/model/tensor"
)

// newOptimizer makes the optimizer that optim, or use_muon, selects.
func newOptimizer(c *config.Config, dev driver.Device, params []*tensor.Param, l *lanes, log *slog.Logger) (optim.Optimizer, error) {
	t := c.Training
	name, settings := t.Optim, optim.Settings{WeightDecay: t.WeightDecay, Beta1: t.AdamBeta1, Beta2: t.AdamBeta2, Eps: t.AdamEpsilon}
	if c.Tuning.UseMuon {
		name = optim.MuonName
	}
	if ratio := c.Tuning.LoRAPlusLRRatio; ratio != nil {
		settings.Groups = optim.LoRAPlus(params, t.WeightDecay, t.LearningRate, *ratio, c.Tuning.LoRAPlusLREmbedding)
	}
	if l.shares != nil {
		settings.Shares = l
	}
	if said := optim.Equivalent(name); said != "" {
		log.Info(said)
	}
	o, err := optim.New(name, dev, params, settings)
	if err != nil {
		return nil, c.Errorf("optim", "%w", err)
	}
	return o, nil
}

// newSchedule makes the schedule that lr_scheduler_type selects for a run of that many
// steps, or a plateau, which follows evaluations.
func newSchedule(c *config.Config, steps int) (optim.Schedule, *optim.Plateau, error) {
	t := c.Training
	if t.LRSchedulerType == optim.PlateauName {
		p, err := optim.NewPlateau(t.LRSchedulerKwargs, t.LearningRate)
		if err != nil {
			return nil, nil, c.Errorf("lr_scheduler_kwargs", "%w", err)
		}
		return nil, p, nil
	}
	warmup := t.Warmup(steps)
	args := t.LRSchedulerKwargs
	if t.LRSchedulerType == "warmup_stable_decay" {
		args = optim.StableDecayDefaults(args, warmup, steps)
	}
	s, err := optim.NewSchedule(t.LRSchedulerType, args, warmup, steps, t.LearningRate)
	if err != nil {
		return nil, nil, c.Errorf("lr_scheduler_type", "%w", err)
	}
	return s, nil, nil
}
