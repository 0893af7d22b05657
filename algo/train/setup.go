package train

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/train/identity"
	"dataflex.dev/dataflex/algo/tuning"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
)

// setUp builds a run: data first, then the model, then what trains it. Nothing is
// written. machine is the device for which the cost of the run is estimated: dev, or
// the device that dev plans for. join connects the ranks after the data have been loaded, so
// that no rank waits in a call for one that tokenises.
func setUp(ctx context.Context, c *config.Config, dev, machine driver.Device, log *slog.Logger, join func() (*ranks.Job, error)) (_ *session, err error) {
	if faults := Check(c); len(faults) > 0 {
		return nil, config.Join(faults)
	}
	at := &position{}
	l := &loop{Config: c, log: log, position: at}
	t := &session{config: c, loop: l, log: log, began: time.Now()}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	d, err := LoadData(ctx, c, log)
	if err != nil {
		return nil, err
	}
	t.data, at.ledger = d, curriculum.NewLedger(len(d.Train))
	if t.ranks, err = join(); err != nil {
		return nil, err
	}
	if l.Plan, err = NewPlan(c, len(d.Train)); err != nil {
		return nil, err
	}
	c.Training.ResolveSteps(l.Plan.Total)
	shards := shardWeights(c, t.ranks, dev)
	if t.model, err = tuning.Model(c, dev, d.Tokenizer, shards, log); err != nil {
		return nil, err
	}
	if shards != nil && shards.Take != nil {
		t.ranks.InTurns(func(turn ranks.Turn) error { return t.model.RunIdle(uint32(turn), l.lanes.followed()) })
	}
	l.passes = newPasses(c, dev, t.model, d.Train)
	if l.lanes, err = newLanes(c, dev, l.Plan, t.ranks, t.model, log); err != nil {
		return nil, err
	}
	l.passes.lanes = l.lanes
	l.nonEmbedding = float64(t.model.Parameters() - t.model.Config().Vocab*t.model.Config().Hidden)
	if l.optimizer, err = newOptimizer(c, dev, l.passes.params, l.lanes, log); err != nil {
		return nil, err
	}
	if l.schedule, l.plateau, err = newSchedule(c, l.Plan.Total); err != nil {
		return nil, err
	}
	groups := newLengthGroups(c, l.Plan, d)
	l.sampler = newSampler(c, l.Plan, groups)
	l.journal = &journal{config: c, plan: l.Plan, at: at, rows: d.Train, out: log, silent: !t.ranks.First()}
	if t.names, err = decide(ctx, c, l, d); err != nil {
		return nil, err
	}
	l.curriculum, l.journal.component = t.names.Curriculum, t.names.Component
	l.replay = replay{every: c.Training.ReplayEvery, at: at, passes: l.passes, curriculum: l.curriculum}
	t.surround(machine, groups)
	return t, t.judge.check(t.evaluator.outline())
}

// decide makes the curriculum, and the identity that gives its decisions their keys.
func decide(ctx context.Context, c *config.Config, l *loop, d *Data) (*identity.Names, error) {
	lent := &algo.Run{
		Device: l.passes.device, Model: l.passes.model, Optimizer: l.optimizer, Train: d.Train, Eval: flatten(d.Eval),
		Seed: l.passes.seed, Updates: l.Plan.Choices(), UpdatesPerEpoch: l.Plan.Updates, Log: l.log,
		Smooths: c.Training.LabelSmoothingFactor > 0, Tokenizer: d.Tokenizer, Stop: d.Stop, Ranks: l.lanes.job,
	}
	lent.Subtasks = subtasks(lent.Eval)
	n := &identity.Names{Config: c, Lent: lent, Rows: d.Train, Key: d.Key, Remembered: d.name}
	ask := &questioner{config: c, data: d, lent: lent}
	var err error
	n.Curriculum, n.Component, err = curriculum.New(ctx, curriculum.Run{
		Run: lent, Config: c, Schedule: l.Plan.Schedule, Domains: d.Domains, MixerEval: d.MixerEval,
		Journal: l.journal, Log: l.log, Key: n.Choice, Ask: ask.ask, Column: d.column,
	})
	return n, err
}

func flatten(sets []EvalSet) []data.Example {
	var out []data.Example
	for _, s := range sets {
		out = append(out, s.Examples...)
	}
	return out
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
