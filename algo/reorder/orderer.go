package reorder

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/rng"
)

// Column reads a column of the data that is not part of the tokenised rows: by data set, the
// number of every row of its files, NaN for none.
type Column func(ctx context.Context, field string) (map[string][]float64, error)

// Orderer orders a run's rows as a component says: once, or again whenever their scores change.
type Orderer struct {
	run       *algo.Run
	settings  settings
	upstream  bool
	column    Column
	component *config.Component

	pool   []int     // the rows to order
	order  []int     // static: once it was computed
	pass   *Pass     // dynamic
	fixed  []float64 // scores that do not change, once they were read
	latest []float64 // the scores behind the last order, per row of the run; NaN for none
	scored int       // rows that went through the model for them
}

// New makes an orderer; it checks the parameters and reads no scores yet.
func New(run *algo.Run, c *config.Component, column Column) (*Orderer, error) {
	s, err := read(algo.Mode(c.Mode), c.Params)
	if err != nil {
		return nil, err
	}
	o := &Orderer{run: run, settings: s, upstream: algo.Mode(c.Mode) == algo.Upstream, column: column, component: c}
	return o, o.SetPool(identity(len(run.Train)))
}

// SetPool sets the rows to order, by default all rows of the run. The previous order, and the
// position in it, are dropped.
func (o *Orderer) SetPool(rows []int) (err error) {
	o.pool, o.order = rows, nil
	if s := o.settings; s.dynamic {
		calls := 0
		if o.upstream && o.pass != nil { // upstream counts intervals across pools
			calls = o.pass.state.Calls
		}
		o.pass, err = NewPass(Pass{Pattern: s.pattern, Head: s.head, Every: s.every, Repeat: s.repeat, Score: o.scores}, rows)
		if err == nil {
			o.pass.state.Calls = calls
		}
	}
	return err
}

// Dynamic reports that the order follows scores that change.
func (o *Orderer) Dynamic() bool { return o.settings.dynamic }

// ByRow reports that scores belong to single rows, so that rows must not be packed.
func (o *Orderer) ByRow() bool {
	return o.settings.source != modelLoss && o.settings.pattern.Kind != Shuffle
}

// Latest is the scores behind the last order, per row of the run, and the number of rows that
// went through the model for them.
func (o *Orderer) Latest() (scores []float64, scored int) { return o.latest, o.scored }

// Static is the order of the pool, computed at the first call.
func (o *Orderer) Static(ctx context.Context) ([]int, error) {
	if o.order != nil {
		return o.order, nil
	}
	scores, err := o.scores(ctx, o.pool, 0)
	if err != nil {
		return nil, err
	}
	o.order = o.settings.pattern.Order(scores)
	for i, at := range o.order {
		o.order[i] = o.pool[at]
	}
	return o.order, nil
}

// Warmup draws n rows before there are scores.
func (o *Orderer) Warmup(n int) ([]int, error) {
	o.latest, o.scored = nil, 0
	return o.pass.Warmup(n)
}

// WarmupLeft is Warmup within the pass: fewer rows, or none, where fewer are left.
func (o *Orderer) WarmupLeft(n int) ([]int, error) {
	return o.Warmup(min(n, len(o.pass.state.Left)))
}

// Next is the next n rows.
func (o *Orderer) Next(ctx context.Context, step, n int) ([]int, error) {
	o.latest, o.scored = nil, 0
	return o.pass.Next(ctx, step, n)
}

// Ahead is the next n rows of the last order, without new scores; ok is false where fewer are
// left.
func (o *Orderer) Ahead(n int) (rows []int, ok bool) { return o.pass.Ahead(n) }

// Left is how many rows of the pass have not been served; after its end a new pass begins.
func (o *Orderer) Left() int {
	if n := len(o.pass.state.Left); n > 0 {
		return n
	}
	return len(o.pool)
}

// State is what a resumed run needs: the order, or the rest of the pass.
func (o *Orderer) State() (json.RawMessage, error) {
	if o.pass != nil {
		return o.pass.State()
	}
	return json.Marshal(o.order)
}

// Restore restores State; nil is the initial state.
func (o *Orderer) Restore(raw json.RawMessage) error {
	switch {
	case o.pass != nil && raw == nil:
		o.pass.Reset()
		return nil
	case o.pass != nil:
		return o.pass.Restore(raw)
	case raw == nil:
		o.order = nil
		return nil
	}
	o.order = nil
	return json.Unmarshal(raw, &o.order)
}

// scores are the current scores of rows.
func (o *Orderer) scores(ctx context.Context, rows []int, step int) ([]float64, error) {
	if o.settings.pattern.Kind == Shuffle {
		return make([]float64, len(rows)), nil
	}
	if o.settings.source == modelLoss {
		return o.losses(ctx, rows, step)
	}
	if o.fixed == nil {
		var err error
		if o.fixed, err = o.read(ctx); err != nil {
			return nil, fmt.Errorf("%s: scores of %s: %w", o.component.Position, o.component.Name, err)
		}
	}
	o.latest = o.fixed
	out := make([]float64, len(rows))
	for i, r := range rows {
		out[i] = o.fixed[r]
	}
	return out, nil
}

// shared is losses from the board, which the stages of a pipeline share.
func (o *Orderer) shared(ctx context.Context, rows []int, step int) ([]float64, error) {
	out, err := o.run.Losses(ctx, rows, step, o.settings.most)
	if err != nil {
		return nil, err
	}
	o.latest = make([]float64, len(o.run.Train))
	for i := range o.latest {
		o.latest[i] = math.NaN()
	}
	for i, r := range rows {
		o.latest[r] = out[i]
	}
	o.scored = len(rows)
	if o.settings.dynamic {
		return out, nil
	}
	return fillMedian(out)
}

// read is the stored scores of all rows. Upstream sorts rows without one to the end; faithful
// refuses them.
func (o *Orderer) read(ctx context.Context) ([]float64, error) {
	s, train := o.settings, o.run.Train
	var scores []float64
	way := "give every row one, or leave these rows out"
	switch {
	case s.source == cachedSelection:
		out, err := stepScores(s.path, s.metric, len(train))
		if err != nil {
			return nil, err
		}
		fill := s.fill
		if fill == nil && o.upstream {
			fill = new(float64)
		}
		for i, x := range out {
			if math.IsNaN(x) && fill != nil {
				out[i] = *fill
			}
		}
		scores, way = out, "step files only contain the rows that were chosen: set fill_value under score_params to the score of the others"
	case s.path != "":
		t, err := readTable(s.path, s.field)
		if err != nil {
			return nil, err
		}
		if scores, err = t.of(train, s.index || o.upstream && len(t.list) == len(train) && oneAfterTheOther(train)); err != nil {
			return nil, err
		}
	default:
		sets, err := o.column(ctx, s.field)
		if err != nil {
			return nil, err
		}
		t := &table{path: "column " + s.field, sets: sets}
		if scores, err = t.of(train, false); err != nil {
			return nil, err
		}
	}
	if s.dynamic { // the pass replaces them by the median
		return scores, nil
	}
	err := missing(train, scores, way)
	if err == nil || !o.upstream {
		return scores, err
	}
	o.run.Log.Warn("upstream sorts rows without a score after the highest score: " + err.Error())
	for i, x := range scores {
		if math.IsNaN(x) {
			scores[i] = math.Inf(1)
		}
	}
	return scores, nil
}

// losses are the model's losses of all rows, or of a random subset; NaN for the others.
func (o *Orderer) losses(ctx context.Context, rows []int, step int) ([]float64, error) {
	if o.run.Losses != nil {
		return o.shared(ctx, rows, step)
	}
	at := identity(len(rows))
	if most := o.settings.most; most > 0 && most < len(rows) {
		var err error
		if at, err = rng.NewPCG64(o.settings.scoreSeed+uint64(step)).Choice(len(rows), most, false, nil); err != nil {
			return nil, err
		}
	}
	examples := make([]data.Example, len(at))
	for k, i := range at {
		examples[k] = o.run.Train[rows[i]]
	}
	got, err := feature.Losses(ctx, feature.Pass{Device: o.run.Device, Model: o.run.Model, Log: o.run.Log, Ranks: o.run.Ranks}, examples)
	if err != nil {
		return nil, err
	}
	nan := math.NaN()
	out := make([]float64, len(rows))
	for i := range out {
		out[i] = nan
	}
	o.latest = make([]float64, len(o.run.Train))
	for i := range o.latest {
		o.latest[i] = nan
	}
	for k, i := range at {
		out[i], o.latest[rows[i]] = got[k], got[k]
	}
	o.scored = len(at)
	if o.settings.dynamic {
		return out, nil
	}
	return fillMedian(out)
}
