package train

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/optim"
)

// setUp builds a run: data first, then the model, then what trains it. Nothing is
// written.
func setUp(ctx context.Context, c *config.Config, dev driver.Device, log *slog.Logger) (_ *session, err error) {
	if faults := Check(c); len(faults) > 0 {
		return nil, config.Join(faults)
	}
	t := newSession(c, dev, log)
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	d, err := LoadData(ctx, c, log)
	if err != nil {
		return nil, err
	}
	t.data, t.tokenizer, t.template, t.train, t.eval = d, d.Tokenizer, d.options.Template, d.Train, d.Eval
	t.ledger = curriculum.NewLedger(len(t.train))
	if t.Plan, err = NewPlan(c, len(t.train)); err != nil {
		return nil, err
	}
	c.Training.ResolveSteps(t.Plan.Total)
	if err := t.loadModel(); err != nil {
		return nil, err
	}
	if err := t.newOptimizer(); err != nil {
		return nil, err
	}
	t.sampler = sampler{plan: t.Plan, seed: samplerSeed(c), shuffle: !c.Tuning.DisableShuffling && !c.Data.Streaming, dropLast: c.Training.DataloaderDropLast}
	if c.Training.GroupByLength {
		t.sampler.lengths = func(row int) int { return len(t.train[row].InputIDs) }
	}
	if t.Plan.Dynamic {
		t.sampler.window.Start = -1
	}
	if err := t.newCurriculum(ctx); err != nil {
		return nil, err
	}
	t.Budget = t.model.Memory(t.largestMicro())
	t.Budget.Optimizer = t.optimizer.Bytes()
	embeddings := t.model.Config().Vocab * t.model.Config().Hidden
	t.nonEmbedding = float64(t.model.Parameters() - embeddings)
	return t, nil
}

// newSession is a run of nothing yet.
func newSession(c *config.Config, dev driver.Device, log *slog.Logger) *session {
	l := &loop{Config: c, device: dev, log: log, seed: uint64(c.Training.Seed)}
	l.journal = &journal{loop: l, out: log}
	t := &session{loop: l, began: time.Now()}
	l.opening = t.openOrSave
	return t
}

// newCurriculum makes what decides on the data.
func (t *session) newCurriculum(ctx context.Context) (err error) {
	d := t.data
	t.lent = &algo.Run{
		Device: t.device, Model: t.model, Optimizer: t.optimizer, Train: t.train, Eval: flatten(t.eval),
		Seed: t.seed, Updates: t.Plan.Choices(), UpdatesPerEpoch: t.Plan.Updates, Log: t.log,
		Tokenizer: d.Tokenizer, Stop: d.Stop,
	}
	t.lent.Subtasks = subtasks(t.lent.Eval)
	t.curriculum, t.component, err = curriculum.New(ctx, curriculum.Run{
		Run: t.lent, Config: t.Config, Schedule: t.Plan.Schedule, Domains: d.Domains, MixerEval: d.MixerEval,
		Journal: t.journal, Log: t.log, Key: t.selectionKey, Ask: t.askQuestions, Column: d.column,
	})
	t.journal.component = t.component
	return err
}

func samplerSeed(c *config.Config) uint64 {
	if c.Training.DataSeed != nil {
		return uint64(*c.Training.DataSeed)
	}
	return uint64(c.Training.Seed)
}

func flatten(sets []EvalSet) []data.Example {
	var out []data.Example
	for _, s := range sets {
		out = append(out, s.Examples...)
	}
	return out
}

func (t *session) newOptimizer() error {
	c := t.Config.Training
	name, settings := c.Optim, optim.Settings{WeightDecay: c.WeightDecay, Beta1: c.AdamBeta1, Beta2: c.AdamBeta2, Eps: c.AdamEpsilon}
	if t.Config.Tuning.UseMuon {
		name = optim.MuonName
	}
	if ratio := t.Config.Tuning.LoRAPlusLRRatio; ratio != nil {
		settings.Groups = optim.LoRAPlus(t.params, c.WeightDecay, c.LearningRate, *ratio, t.Config.Tuning.LoRAPlusLREmbedding)
	}
	if said := optim.Equivalent(name); said != "" {
		t.log.Info(said)
	}
	var err error
	if t.optimizer, err = optim.New(name, t.device, t.params, settings); err != nil {
		return t.Config.Errorf("optim", "%w", err)
	}
	if c.LRSchedulerType == optim.PlateauName {
		if t.plateau, err = optim.NewPlateau(c.LRSchedulerKwargs, c.LearningRate); err != nil {
			return t.Config.Errorf("lr_scheduler_kwargs", "%w", err)
		}
		return nil
	}
	warmup := c.Warmup(t.Plan.Total)
	args := c.LRSchedulerKwargs
	if c.LRSchedulerType == "warmup_stable_decay" {
		args = optim.StableDecayDefaults(args, warmup, t.Plan.Total)
	}
	if t.schedule, err = optim.NewSchedule(c.LRSchedulerType, args, warmup, t.Plan.Total, c.LearningRate); err != nil {
		return t.Config.Errorf("lr_scheduler_type", "%w", err)
	}
	return nil
}

// largestMicro is the most tokens, and labelled ones, that a micro-batch can hold.
func (t *session) largestMicro() (tokens, labelled int) {
	longest, labels := make([]int, len(t.data.Train)), make([]int, len(t.data.Train))
	for i, ex := range t.data.Train {
		longest[i], labels[i] = len(ex.InputIDs), int(t.data.Labels[i])
	}
	return sumLargest(longest, t.Plan.Micro), sumLargest(labels, t.Plan.Micro)
}

// supported refuses what the loop cannot do yet: a key that silently did nothing
// would change a result.
func supported(c *config.Config) error {
	if !c.Data.IgnorePadTokenForLoss {
		return c.Errorf("ignore_pad_token_for_loss", "padding is never trained on here: remove it")
	}
	if slices.Contains(c.Training.ReportTo, "mlflow") {
		if _, err := report.MLflowStore(); err != nil {
			return c.Errorf("report_to", "%w", err)
		}
	}
	return c.Unsupported("new_special_tokens_config", "ignore_data_skip")
}
