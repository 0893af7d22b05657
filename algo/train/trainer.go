package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/mixer"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
	"dataflex.dev/dataflex/model/tensor"
)

// ErrInterrupted is returned when the context ended and a checkpoint was saved.
var ErrInterrupted = errors.New("interrupted; the checkpoint is complete, the same command goes on from it")

// Trainer is a run: what it trains, on what, and how far it is.
type Trainer struct {
	Config *config.Config
	Plan   Plan
	Budget decoder.Budget

	device    driver.Device
	model     *decoder.Model
	params    []*tensor.Param
	optimizer optim.Optimizer
	schedule  optim.Schedule
	plateau   *optim.Plateau // of reduce_lr_on_plateau, which follows evaluations instead
	tokenizer *tokenizer.Tokenizer
	began     time.Time // the set-up
	data      *Data     // whose memory train and eval lie in
	train     []data.Example
	eval      []EvalSet
	run       *algo.Run
	component *config.Component // nil in a static run
	selector  algo.Selector     // of dynamic_select
	mix       *mixture          // of dynamic_mix
	weighter  algo.Weighter     // of dynamic_weight
	sampler   sampler
	ids       ids
	record    runFile                  // of output_dir
	aside     string                   // where what was in output_dir went
	isGate    func(module string) bool // of freeze_gate; nil where it is off

	nonEmbedding float64 // parameters but the embeddings, adapters included: for total_flos

	step       int
	moving     bool // an update has begun and is not finished: the weights are of no step
	totals     totals
	skipped    map[int]int      // how often training rows were left out of a step
	evalBroken map[data.ID]bool // evaluation rows that were left out
	kept       kept             // the checkpoint of the last finished step, if it is saved

	evaluationDue bool // the evaluation that the last finished step asks for has not been made
	bestLoaded    bool // the model holds the best weights, not the last
	best          best
	recorder      *recorder
	log           *slog.Logger
	progress      Progress
	saveNow       <-chan os.Signal
}

// EvalSet is a named set of evaluation rows; the name is empty when there is one.
type EvalSet struct {
	Name     string
	Examples []data.Example
}

// totals is what a run adds up, and a checkpoint keeps.
type totals struct {
	Loss        float64 `json:"loss"`         // of all steps
	WindowLoss  float64 `json:"window_loss"`  // since the last log line
	WindowSteps int     `json:"window_steps"` // likewise
	Flos        float64 `json:"flos"`
	Tokens      int     `json:"tokens"`    // trained on, without padding
	Padded      int     `json:"padded"`    // as upstream counts input tokens
	Seconds     float64 `json:"seconds"`   // of training, selections included
	Selecting   float64 `json:"selecting"` // of which selecting
	Selections  int     `json:"selections"`
}

// Progress is told how far the run is; nil wants nothing.
type Progress interface {
	Step(done, total int, loss float64, tokens int) // tokens trained on so far
	Close()
}

// stepStats is what an optimizer step reports.
type stepStats struct {
	loss, gradNorm, lr float64
}

// Train runs to the end of the plan. When ctx ends it saves a checkpoint of the
// last finished step and returns ErrInterrupted.
func (t *Trainer) Train(ctx context.Context) error {
	started := time.Now()
	before := t.totals.Seconds
	if t.step == 0 && t.Config.Training.EvalOnStart && len(t.eval) > 0 {
		if _, err := t.evaluateAndJudge(ctx); err != nil {
			return err
		}
	}
	stop := t.enough()
	if t.evaluationDue {
		var err error
		if stop, err = t.settle(ctx); err != nil {
			return t.stopped(ctx, err)
		}
	}
	for t.step < t.Plan.Total && !stop {
		stats, err := t.advance(ctx)
		t.totals.Seconds = before + time.Since(started).Seconds()
		if err != nil {
			return t.stopped(ctx, err)
		}
		if err = task.Catch(func() (err error) { stop, err = t.afterStep(ctx, stats); return err }); err != nil {
			return t.stopped(ctx, err)
		}
		if err := t.saveAsked(); err != nil {
			return err
		}
	}
	return t.loadBest()
}

// stopped saves what there is when the context ended, or an error ends the run.
func (t *Trainer) stopped(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return t.rescued(err)
	}
	if t.bestLoaded && t.recorder.lastSaved != "" {
		return ErrInterrupted // the last step's weights are in its checkpoint, if anywhere
	}
	if t.step == 0 {
		return fmt.Errorf("interrupted before the first step, nothing is saved: %w", err)
	}
	path, serr := t.save(true)
	if serr != nil {
		return fmt.Errorf("interrupted at step %d, and the checkpoint could not be saved: %w", t.step, serr)
	}
	t.log.Info("checkpoint saved", "step", t.step, "path", path)
	return ErrInterrupted
}

// advance opens the window a step starts with, where one does, and takes the
// step.
func (t *Trainer) advance(ctx context.Context) (stepStats, error) {
	if err := ctx.Err(); err != nil {
		return stepStats{}, err
	}
	if opening, _ := t.Plan.Opening(t.step); opening != Continue {
		if err := t.openOrSave(ctx); err != nil {
			return stepStats{}, err
		}
	}
	var stats stepStats
	err := t.orBack(t.stepwise(), func() (err error) { stats, err = t.optimizerStep(ctx); return err })
	return stats, err
}

// orBack does something that moves the state of a method and of the run, and undoes
// what it did where it fails: a step that is cut short leaves no trace.
func (t *Trainer) orBack(method any, do func() error) error {
	before := saved{Skipped: maps.Clone(t.skipped)}
	noted := len(t.recorder.history)
	if err := t.stateOf(method, &before); err != nil {
		return err
	}
	err := task.Catch(do)
	if err == nil {
		return nil
	}
	t.skipped, t.recorder.history = before.Skipped, t.recorder.history[:noted]
	return errors.Join(err, t.restoreMethod(before))
}

// stepwise is the method if it takes part in every step, not in the opening of windows
// alone.
func (t *Trainer) stepwise() any {
	method := t.method()
	if _, ok := method.(algo.Observer); ok {
		return method
	}
	if _, ok := method.(mixer.StepWeigher); ok || t.weighter != nil {
		return method
	}
	return nil
}

// optimizerStep accumulates the gradients of a group of micro-batches and applies
// them: the loss is the mean over all labelled tokens of the group.
func (t *Trainer) optimizerStep(ctx context.Context) (stepStats, error) {
	lr := t.rate()
	g, err := t.gradient(ctx)
	if err != nil {
		return stepStats{}, err
	}
	t.count(g.micros)
	if g.nothing != "" {
		t.log.Warn(g.nothing+": the update is skipped", "step", t.step+1)
		t.finishStep(0)
		return stepStats{lr: lr}, nil
	}
	t.recordColumn(g)
	t.moving = true
	t.optimizer.Step(lr, optim.Clip(g.norm, t.Config.Training.MaxGradNorm))
	if o, ok := t.method().(algo.Observer); ok {
		// The weights have moved: what follows belongs to the step and is not cut short.
		if err := o.Observe(context.WithoutCancel(ctx), t.step, t.reports(g.micros, g.tokenLoss, g.returned)); err != nil {
			return stepStats{}, fmt.Errorf("step %d, %s: %w", t.step+1, t.component.Name, err)
		}
	}
	if t.mix != nil {
		t.recorder.page.Domains(t.reports(g.micros, g.tokenLoss, g.returned))
	}
	t.finishStep(g.loss)
	return stepStats{loss: g.loss, gradNorm: g.norm, lr: lr}, nil
}

// gradient is what the parameters' gradients hold before an update, and of what.
type gradient struct {
	micros     []batch.Micro
	labels     int
	nothing    string      // why there is no gradient; then only micros is set
	tokenLoss  [][]float32 // per micro-batch
	returned   []float64   // likewise: its share of the loss
	loss, norm float64
}

// accumulate adds up the gradients of micro-batches. Rows that make the loss or the
// gradient no number are a *notFinite error.
func (t *Trainer) accumulate(ctx context.Context, micros []batch.Micro, labels int) (*gradient, error) {
	g := &gradient{micros: micros, labels: labels, tokenLoss: make([][]float32, len(micros)), returned: make([]float64, len(micros))}
	weights, err := t.tokenWeights(ctx, micros, labels)
	if err != nil {
		return nil, fmt.Errorf("step %d: %w", t.step+1, err)
	}
	t.zeroGradients()
	broken := &notFinite{what: "loss"}
	for i, m := range micros {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if g.tokenLoss[i], g.returned[i], err = t.backward(m, i, weights[i]); err != nil {
			return nil, fmt.Errorf("step %d, %s: %w", t.step+1, t.describe(m.Rows), err)
		}
		broken.add(m, g.tokenLoss[i])
		g.loss += g.returned[i]
	}
	if len(broken.rows) > 0 {
		return nil, broken
	}
	if g.norm = optim.GradNorm(t.device, t.params); finite(g.norm) {
		return g, nil
	}
	if broken, err = t.brokenGradients(ctx, micros, weights); err != nil || len(broken.rows) > 0 {
		return nil, cmp.Or[error](err, broken)
	}
	return nil, spoilt{fmt.Errorf("step %d: the gradient is not finite (norm %v) while the loss is %v and every row's own gradient is finite: lower learning_rate, or look at %s; %s",
		t.step+1, g.norm, g.loss, t.describe(micros[0].Rows), t.lastCheckpoint())}
}

// rate is the learning rate of the coming step.
func (t *Trainer) rate() float64 {
	if t.plateau != nil {
		return t.plateau.LR()
	}
	return t.Config.Training.LearningRate * t.schedule(t.step)
}

func (t *Trainer) finishStep(loss float64) {
	t.totals.Loss += loss
	t.totals.WindowLoss += loss
	t.totals.WindowSteps++
	t.step++
	t.moving = false
}

// group lays out the micro-batches of a step and counts their labels.
func (t *Trainer) group(step [][]int) (micros []batch.Micro, labels int) {
	for _, rows := range step {
		m := batch.Pack(t.train, rows)
		examples := make([]data.Example, len(rows))
		for i, r := range rows {
			examples[i] = t.train[r]
		}
		m.PadLen = processor.PaddedLength(examples, t.padding())
		micros = append(micros, m)
		labels += m.Labels
	}
	return micros, labels
}

// count keeps upstream's books, which go by padded tokens.
func (t *Trainer) count(micros []batch.Micro) {
	for _, m := range micros {
		padded := m.PadLen * len(m.Rows)
		t.totals.Tokens += len(m.Tokens)
		t.totals.Padded += padded
		t.totals.Flos += 6 * float64(padded) * t.nonEmbedding
	}
}

// padding is the multiple rows are padded to upstream.
func (t *Trainer) padding() int {
	if t.Config.Tuning.Stage == config.StageSFT {
		return processor.PaddingMultiple
	}
	return 1
}

// backward adds a micro-batch's share of the step's gradient and returns its
// tokens' losses and its share of the step's loss.
func (t *Trainer) backward(m batch.Micro, index int, weight []float32) ([]float32, float64, error) {
	tokenLoss, err := t.model.Backward(m.Batch, decoder.Objective{
		Weight: weight, Smoothing: float32(t.Config.Training.LabelSmoothingFactor),
		Train: true, DropoutSeed: t.dropoutSeed(index), NEFTune: t.neftune(), Balance: t.balance(),
	})
	if err != nil {
		return nil, 0, err
	}
	var sum float64
	for i, l := range tokenLoss {
		if m.Targets[i] >= 0 {
			sum += float64(l) * float64(weight[i])
		}
	}
	if b := t.balance(); b > 0 {
		loss, err := t.model.BalanceLoss()
		if err != nil {
			return nil, 0, err
		}
		sum += float64(b) * loss
	}
	return tokenLoss, sum, nil
}

// balance is the weight of the routers' auxiliary loss: moe_aux_loss_coef for every
// micro-batch, as transformers adds it.
func (t *Trainer) balance() float32 {
	if a := t.Config.Model.MoEAuxLossCoef; a != nil {
		return float32(*a)
	}
	return 0
}

// neftune is the scale of the noise on the embeddings, 0 for none.
func (t *Trainer) neftune() float32 {
	if a := t.Config.Training.NEFTuneNoiseAlpha; a != nil {
		return float32(*a)
	}
	return 0
}

// dropoutSeed differs for every micro-batch of the run and depends on nothing
// else, so that a resumed run draws the same masks.
func (t *Trainer) dropoutSeed(index int) uint64 {
	const golden = 0x9e3779b97f4a7c15 // 2⁶⁴/φ, spreads consecutive counters
	return (t.run.Seed+1)*golden ^ uint64(t.step)<<20 ^ uint64(index)
}

func (t *Trainer) zeroGradients() {
	for _, p := range t.params {
		reduce.Fill(t.device, 0, p.Grad)
	}
}

// describe names the rows of a micro-batch.
func (t *Trainer) describe(rows []int) string {
	s := ""
	for i, r := range rows {
		if i > 0 {
			s += ", "
		}
		if i == 4 {
			return s + fmt.Sprintf("and %d more", len(rows)-i)
		}
		s += fmt.Sprintf("row %d of %s", t.train[r].Row, t.train[r].Dataset)
	}
	return s
}

func (t *Trainer) lastCheckpoint() string {
	if t.recorder.lastSaved == "" {
		return "no checkpoint was saved yet"
	}
	return "the last good checkpoint is " + t.recorder.lastSaved
}

// Result is what a finished run reports.
func (t *Trainer) Result() pyjson.Object {
	seconds := max(t.totals.Seconds, 1e-9)
	samples := float64(len(t.train)) * t.Config.Training.NumTrainEpochs
	if t.Plan.Dynamic || t.Config.Training.MaxSteps > 0 {
		samples = float64(t.Plan.Total * t.Plan.Batch())
	}
	out := pyjson.Object{
		{Key: "epoch", Value: t.Plan.Epoch(t.step)},
		{Key: "total_flos", Value: t.totals.Flos},
		{Key: "train_loss", Value: t.totals.Loss / float64(max(t.step, 1))},
		{Key: "train_runtime", Value: report.Round(seconds, 4)},
		{Key: "train_samples_per_second", Value: report.Round(samples/seconds, 3)},
		{Key: "train_steps_per_second", Value: report.Round(float64(t.Plan.Total)/seconds, 3)},
		{Key: "train_tokens_per_second", Value: report.Round(float64(t.totals.Tokens)/seconds, 3)},
	}
	if t.Config.Tuning.IncludeEffectiveTokensPerSecond {
		out.Set("effective_tokens_per_sec", report.Round(float64(t.totals.Tokens)/seconds, 3))
	}
	if n := t.timesSkipped(); n > 0 {
		out.Set("skipped_samples", n)
	}
	if n, asked := t.Config.Training.IncludeNumInputTokensSeen.Of(t.totals.Padded, t.totals.Tokens); asked {
		out.Set("num_input_tokens_seen", n)
	}
	return out
}
