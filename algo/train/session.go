package train

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/predict"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/page"
	"dataflex.dev/dataflex/algo/train/identity"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/decoder"
)

// ErrInterrupted is returned when the context ended and a checkpoint was saved.
var ErrInterrupted = errors.New("interrupted; the checkpoint is complete, the same command goes on from it")

// session is a run without its loop: the order in which it begins, evaluates, saves, stops
// and ends. The parts implement these steps.
type session struct {
	config *config.Config
	loop   *loop
	log    *slog.Logger
	data   *Data // owns the memory of the rows
	model  *decoder.Model
	ranks  *ranks.Job // the processes that train together; nil for one

	names       *identity.Names
	forecast    *forecast
	folder      *folder // nil where nothing is written: on all ranks but the first, for example
	checkpoints *checkpoints
	cadence     cadence
	evaluator   *evaluator
	judge       *judge
	predictor   *predict.Predictor
	requests    *saveRequests
	progress    Progress

	began         time.Time // the set-up
	evaluationDue bool      // the evaluation that the last finished step asks for has not been made
	bestLoaded    bool      // the model holds the best weights, not the last
}

// Progress receives the progress of a run; it may be nil.
type Progress interface {
	Step(done, total int, loss float64, tokens int) // tokens trained on so far
	Close()
}

// surround makes the parts around the loop, which evaluate, compare, save and display.
func (t *session) surround(machine driver.Device, groups *lengthGroups) {
	c, l, d := t.config, t.loop, t.data
	t.evaluator = &evaluator{config: c, model: t.model, log: t.log, sets: d.Eval, ranks: t.ranks, groups: groups}
	t.judge = &judge{config: c, plateau: l.plateau, log: t.log}
	t.cadence = cadence{&c.Training, l.Plan}
	t.checkpoints = &checkpoints{config: c, model: t.model, optimizer: l.optimizer, tokenizer: d.Tokenizer, at: l.position, log: t.log}
	t.requests = &saveRequests{plan: l.Plan, at: l.position, save: func(ctx context.Context) (string, error) { return t.save(ctx, true) }, ranks: t.ranks, log: t.log}
	l.opening = t.requests.during
	t.ranks.WhenStopped(t.saveWaiting)
	t.predictor = &predict.Predictor{Config: c, Model: t.model, Tokenizer: d.Tokenizer, Template: d.options.Template, Log: t.log}
	t.forecast = &forecast{
		config: c, plan: l.Plan, device: l.passes.device, machine: machine, model: t.model, rows: d.Train, sets: d.Eval, component: t.names.Component,
		method: l.curriculum.Memory(), lanes: l.lanes.bytes, sharded: l.lanes.sharded, processes: t.ranks.Size(), differences: differences(t.names.Component, l.Plan, l.curriculum),
	}
	t.forecast.planMemory(l.optimizer.Bytes(), d)
	l.passes.most = t.forecast.most
	t.forecast.cost, t.forecast.costs = l.curriculum.Cost()
}

// begin decides what happens to the contents of output_dir, resumes from a checkpoint or
// starts at step 0, and records in the folder which run it belongs to.
func (t *session) begin(ctx context.Context, restart bool) error {
	me, err := t.names.Run()
	if err = t.sameRun(ctx, me, err); err != nil {
		return err
	}
	from, err := t.place(ctx, me, restart)
	if err != nil {
		return err
	}
	if from != "" {
		t.log.Info("resuming", "checkpoint", from)
		err = t.resume(from, me)
	} else {
		err = t.openJournal(true)
	}
	if t.ranks.First() {
		err = errors.Join(err, t.folder.writeRecord())
	}
	return t.ranks.Agree(ctx, "the beginning", err)
}

// resume restores a complete checkpoint: weights, moments, position, records.
func (t *session) resume(dir string, me *identity.Identity) error {
	s, err := readSaved(dir)
	if err != nil {
		return err
	}
	if err := s.compatible(t.config, dir, me, t.loop.Plan); err != nil {
		return err
	}
	s.sayChanges(me, t.log)
	if err := t.checkpoints.restore(dir, s); err != nil {
		return fmt.Errorf("resume from %s: %w", dir, err)
	}
	if err := s.give(t.loop); err != nil {
		return fmt.Errorf("resume from %s: %w", dir, err)
	}
	t.judge.best, t.evaluationDue = s.Best, s.EvaluationDue
	t.checkpoints.found(dir)
	if t.loop.journal.history, err = report.ReadHistory(dir); err != nil {
		return err
	}
	return t.openJournal(false)
}

func (t *session) openJournal(fresh bool) error {
	step := t.loop.step
	return t.loop.journal.open(fresh, t.loop.sampler.holds(step), facts(t.forecast, t.data, step, t.began))
}

// Train runs to the end of the plan. When ctx ends, or an error ends the run, it saves a
// checkpoint of the last finished step.
func (t *session) Train(ctx context.Context) error {
	if t.loop.step == 0 && t.config.Training.EvalOnStart && len(t.evaluator.sets) > 0 {
		// Not judged, as in Hugging Face's Trainer: the untrained model has no checkpoint, so
		// as the best it would leave load_best_model_at_end with the last weights.
		if _, err := t.record(ctx); err != nil {
			return err
		}
	}
	stop := t.judge.enough()
	if t.evaluationDue {
		var err error
		if stop, err = t.settle(ctx); err != nil {
			return t.stopped(ctx, t.told(ctx, err))
		}
	}
	if !stop {
		err := t.loop.run(ctx, func(ctx context.Context, s stepStats) (stop bool, err error) {
			err = task.Catch(func() error { stop, err = t.afterStep(ctx, s); return err })
			return stop, err
		})
		if err != nil {
			return t.stopped(ctx, t.told(ctx, err))
		}
	}
	return t.loadBest(ctx)
}

// afterStep logs, evaluates and saves at the configured steps, in that
// order, as Hugging Face's Trainer does; stop ends the run early.
func (t *session) afterStep(ctx context.Context, s stepStats) (stop bool, err error) {
	at := t.loop.position
	if t.progress != nil {
		t.progress.Step(at.step, t.loop.Plan.Total, s.loss, at.totals.Tokens)
	}
	t.evaluationDue = len(t.evaluator.sets) > 0 && t.cadence.evaluates(at.step) // also where logging fails
	if t.cadence.logs(at.step) {
		if err := t.loop.journal.stepTaken(s); err != nil {
			return false, err
		}
	}
	if stop, err = t.settle(ctx); err != nil {
		return false, err
	}
	return stop, t.requests.answerNow(ctx)
}

// settle makes the evaluation and the checkpoint that are due.
func (t *session) settle(ctx context.Context) (stop bool, err error) {
	if t.evaluationDue {
		if stop, err = t.evaluate(ctx); err != nil {
			return false, err
		}
		t.evaluationDue = false
		t.checkpoints.outdated()
	}
	step := t.loop.step
	if t.cadence.saves(step, stop, t.judge.better(step)) {
		path, err := t.save(ctx, false)
		if err != nil {
			return false, err
		}
		t.log.Info("checkpoint saved", "step", step, "path", path)
	}
	return stop, nil
}

// evaluate runs an evaluation, logs it, and keeps track of the best model; stop is true when
// early stopping's patience is exhausted.
func (t *session) evaluate(ctx context.Context) (stop bool, err error) {
	sets, err := t.record(ctx)
	if err != nil {
		return false, err
	}
	return t.judge.observe(t.loop.step, sets)
}

// record runs an evaluation and logs it.
func (t *session) record(ctx context.Context) (evaluations, error) {
	sets, err := t.measure(ctx)
	if err != nil {
		return sets, err
	}
	return sets, t.loop.journal.evaluated(sets)
}

// measure evaluates, and adds up the time that it takes.
func (t *session) measure(ctx context.Context) (evaluations, error) {
	defer t.loop.journal.Phase("evaluating")()
	return t.evaluator.evaluate(ctx, t.loop.step)
}

// save writes the checkpoint of the last finished step and returns its path. One that is
// saved because the run is interrupted contains the optimizer even with save_only_model.
// Rank 0 writes it, and all ranks continue when it is complete.
func (t *session) save(ctx context.Context, interrupted bool) (string, error) {
	with := interrupted || !t.config.Training.SaveOnlyModel
	if t.checkpoints.has(with) {
		return t.loop.lastSaved, nil
	}
	var m *moments
	var err error
	if with && (t.ranks.First() || t.loop.lanes.shared()) {
		m, err = t.checkpoints.moments()
	}
	if t.ranks.First() && err == nil {
		err = t.write(m)
	}
	if err := t.ranks.Agree(context.WithoutCancel(ctx), "saving", err); err != nil {
		return "", err
	}
	t.checkpoints.noted(with)
	return t.loop.lastSaved, nil
}

// write writes the checkpoint of the last finished step.
func (t *session) write(m *moments) error {
	defer t.loop.journal.Phase("saving")()
	s, err := t.saved()
	if err == nil {
		err = t.checkpoints.save(s, t.trainerState(), m)
	}
	if err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", t.loop.step, err)
	}
	t.checkpoints.rotate(t.judge.checkpoint())
	return t.folder.replaced()
}

// saved is the state of the run that a checkpoint of the last finished step records.
func (t *session) saved() (*saved, error) {
	me, err := t.names.Run()
	if err != nil {
		return nil, err
	}
	s := &saved{Version: savedVersion, Identity: me, Best: t.judge.best, EvaluationDue: t.evaluationDue}
	return s, s.take(t.loop)
}

func (t *session) trainerState() *report.State {
	history := t.loop.journal.history
	if b := t.loop.began; b != nil {
		history = history[:b.noted]
	}
	return trainerState(t.config, t.loop.Plan, t.loop.position, history, t.judge)
}

// stopped saves a checkpoint when the context has ended, or an error ends the run.
func (t *session) stopped(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	step := t.loop.step
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return t.rescued(err)
	}
	if t.bestLoaded && t.loop.lastSaved != "" {
		return ErrInterrupted // only its checkpoint can have the last step's weights
	}
	if step == 0 {
		return fmt.Errorf("interrupted before the first step, nothing is saved: %w", err)
	}
	path, serr := t.save(ctx, true)
	if serr != nil {
		return fmt.Errorf("interrupted at step %d, and the checkpoint could not be saved: %w", step, serr)
	}
	t.log.Info("checkpoint saved", "step", step, "path", path)
	return ErrInterrupted
}

// loadBest puts the best checkpoint's weights into the model, for what is saved at
// the end.
func (t *session) loadBest(ctx context.Context) error {
	if !t.config.Training.LoadBestModelAtEnd {
		return nil
	}
	best := t.judge.best
	dir, err := ranks.Decided(ctx, t.ranks, "the best checkpoint", func(context.Context) (string, error) { return t.judge.checkpoint(), nil })
	if err != nil {
		return err
	}
	if dir == "" {
		t.log.Warn("load_best_model_at_end: the best evaluation has no checkpoint: the last weights are kept", "best_step", best.Step)
		return nil
	}
	t.log.Info("loading the best model", "checkpoint", dir, t.config.Training.MetricForBestModel, best.Metric)
	if err := t.model.ReadTrained(dir); err != nil {
		return fmt.Errorf("load_best_model_at_end: %w", err)
	}
	t.bestLoaded = true
	return nil
}

// Finish writes the results of a finished run; ranks other than the first only take part in
// the last evaluation.
func (t *session) Finish(ctx context.Context) error {
	t.ranks.At("the end")
	var err error
	if t.ranks.First() {
		err = t.finish(ctx)
	} else {
		err = t.finalEvaluation(ctx)
	}
	return t.ranks.Agree(ctx, "the end", err)
}

// finish writes to output_dir what LLaMA-Factory writes there after training: the model, the
// metrics, the state, the plots. It evaluates and predicts first, where the configuration
// asks for that.
func (t *session) finish(ctx context.Context) (err error) {
	// The summary is only added to the history of a finished run, not of one whose last
	// evaluation was interrupted.
	j := t.loop.journal
	noted := len(j.history)
	defer func() {
		if err != nil {
			j.history = j.history[:noted]
		}
	}()
	if err := t.leaveModel(); err != nil {
		return err
	}
	metrics := result(t.config, t.loop.Plan, t.loop.position)
	if err := j.summed(metrics); err != nil {
		return err
	}
	out := t.config.Training.OutputDir
	if err := report.WriteResults(out, "train", metrics); err != nil {
		return err
	}
	if err := t.trainerState().Write(out, true); err != nil {
		return err
	}
	if err := plot(t.config, j.history, t.log); err != nil {
		return err
	}
	if err := explain(t.config, t.names.Component, j.history, t.log); err != nil {
		return err
	}
	if err := t.finalEvaluation(ctx); err != nil {
		return err
	}
	if err := t.predictor.Predict(ctx); err != nil {
		return err
	}
	if err := t.folder.replaced(); err != nil {
		return err
	}
	// Nothing is written again once the run is finished.
	if err := storage.SyncBelow(out, isCheckpoint); err != nil {
		return err
	}
	if err := t.folder.finished(t.loop.step); err != nil {
		return err
	}
	t.checkpoints.leave(t.judge.checkpoint())
	if err := j.finished(); err != nil {
		return err
	}
	// The model is saved: an error while writing the report does not fail the run.
	if path, err := page.Write(ctx, out); err != nil {
		t.log.Warn("the report was not written: dataflex-cli report writes it at any time", "error", err)
	} else {
		t.log.Info("report written: open it in a browser", "path", path)
	}
	return nil
}

// leaveModel writes the model itself into output_dir.
func (t *session) leaveModel() error {
	out := t.config.Training.OutputDir
	if err := t.checkpoints.saveModel(out); err != nil {
		return err
	}
	if t.config.Tuning.PiSSAConvert {
		return t.model.SavePiSSA(out)
	}
	return nil
}

func (t *session) finalEvaluation(ctx context.Context) error {
	if !t.config.Training.DoEval || len(t.evaluator.sets) == 0 {
		return nil
	}
	t.evaluator.final = true
	sets, err := t.measure(ctx)
	if err != nil {
		return err
	}
	eval := sets.fields()
	eval.Set("epoch", t.loop.Plan.Epoch(t.loop.step))
	t.log.Info("final evaluation", sets.losses()...)
	if !t.ranks.First() {
		return nil
	}
	return report.WriteResults(t.config.Training.OutputDir, "eval", eval)
}

// Close releases the memory of the model and of the rows.
func (t *session) Close() {
	if j := t.loop.journal; j != nil {
		if err := j.trackers.Close(j.done); err != nil {
			t.log.Warn("report_to", "error", err)
		}
	}
	if t.loop.lanes != nil {
		t.loop.lanes.close()
	}
	if t.model != nil {
		t.model.Close()
	}
	if t.data != nil {
		closeData(t.data, t.log)
	}
}
