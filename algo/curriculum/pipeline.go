package curriculum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/storage"
)

// pipeline is dynamic_lego: a chain of stages, each with its own component. A selector narrows
// the pool, a mixer decides the shares of the domains, a reorder orders the rows; weighters,
// and mixers such as DoReMi, weigh rows in the loss, and their weights multiply.
//
// faithful: a stage's decision holds until the stage is asked again, and intervals of
// update_step steps advance through it (stream.go); a row is repeated only when the pool is
// exhausted; draws follow the run's seed; weights have mean 1 over an optimizer step.
// upstream: DataFlex 1.1's pipeline, which trains on a plan repeatedly until a stage is due,
// and tracks used rows no longer than that (interval.go).
type pipeline struct {
	method   // the pipeline as a component
	run      Run
	upstream bool
	board    *board
	plans    string // the folder of scoreboard_step_N.json; "" = not written
	rows     []int  // rows that may be trained on, in row order
	domain   []int  // of every row of the run; -1 for rows that a mixer has set aside
	domains  []algo.Domain

	selecting *selecting // these three are nil where there is no such stage
	mixing    *mixing
	ordering  *ordering
	weighing  []*weighing
	planner   planner
	kept      json.RawMessage // the planner's state, which only a new window changes
	selected  json.RawMessage // the selector's state, likewise
}

// planner decides the rows of the intervals.
type planner interface {
	// warmup is the rows before the first decision of a Flex epoch.
	warmup(ctx context.Context, at moment) ([]int, error)
	next(ctx context.Context, at moment) ([]int, error)
	state() (json.RawMessage, error)
	// restore restores a state; nil is the initial one.
	restore(json.RawMessage) error
}

func newPipeline(ctx context.Context, r Run, component *config.Component) (*pipeline, error) {
	p := &pipeline{method: method{component: component}, run: r, upstream: algo.Mode(component.Mode) == algo.Upstream, domains: r.Domains}
	params := component.Params
	cache, save := params.String("cache_dir", ""), params.Bool("save_plans", false)
	params.Int("score_batch_size", 8) // batches here are limited by tokens
	params.Int("score_num_workers", 2)
	usual := int(r.Seed)
	if p.upstream {
		usual = 42
	}
	seed := params.Int("seed", usual)
	stages, err := r.Config.Stages(component)
	if err := errors.Join(err, params.Err()); err != nil {
		return nil, err
	}
	switch {
	case seed < 0:
		return nil, params.Wrap("seed", fmt.Errorf("it must not be negative, got %d", seed))
	case save && cache == "" && !p.upstream:
		return nil, params.Wrap("save_plans", errors.New("plans are written to cache_dir: name one"))
	case save:
		p.plans = cache
	}
	if err := params.Unknown(); err != nil {
		return nil, err
	}
	p.smooths = r.Config.Training.LabelSmoothingFactor > 0
	p.board = newBoard(r.Run, uint64(seed), p.upstream)
	for _, s := range stages {
		if err := p.add(ctx, s, cache); err != nil {
			return nil, err
		}
	}
	if err := p.check(stages); err != nil {
		return nil, err
	}
	p.assignDomains()
	if p.upstream {
		p.planner = newIntervals(p)
	} else {
		p.planner = newStream(p, uint64(seed))
	}
	return p, nil
}

// CheckPipeline returns what is wrong with a component of dynamic_lego, before any row is read.
func CheckPipeline(c *config.Config, run *algo.Run, domains []algo.Domain, component *config.Component) error {
	_, err := newPipeline(context.Background(), Run{Run: run, Config: c, Domains: domains, Log: run.Log}, component)
	return err
}

// add adds a stage.
func (p *pipeline) add(ctx context.Context, s *config.Stage, cache string) (err error) {
	taken := false
	switch s.Family {
	case config.SelectorStage:
		taken = p.selecting != nil
		p.selecting, err = newSelecting(ctx, p.run, s, p.board, cache)
	case config.MixerStage:
		taken = p.mixing != nil
		p.mixing, err = newMixing(ctx, p.run, s)
	case config.ReorderStage:
		taken = p.ordering != nil
		p.ordering, err = newOrdering(p.run, s, p.board)
	case config.WeighterStage:
		var w *weighing
		w, err = newWeighing(ctx, p.run, s)
		p.weighing = append(p.weighing, w)
	}
	if err == nil && taken {
		err = s.Errorf("family", "a pipeline has one %s stage: remove or disable the others", s.Family)
	}
	return err
}

// check refuses combinations of stages that do not work.
func (p *pipeline) check(stages []*config.Stage) error {
	order := []string{config.SelectorStage, config.MixerStage, config.ReorderStage}
	last := -1
	for _, s := range stages {
		if i := slices.Index(order, s.Family); i >= 0 {
			if i < last {
				p.run.Log.Warn("the stages of a pipeline select, then mix, then reorder, whatever their order in the file: shares apply to the selected rows, and ordering comes last", "pipeline", p.component.Name)
			}
			last = max(last, i)
		}
	}
	if s := p.selecting; s != nil && s.Draw {
		if p.ordering != nil || p.mixing != nil && (p.mixing.inLoss == nil || p.upstream) {
			return s.Errorf("mode", "draw decides the rows of an interval, and so does the stage after it: set mode: filter")
		}
	}
	if p.ordering != nil && p.run.Config.Training.GroupByLength {
		return p.run.Config.Errorf("group_by_length", "the pipeline's reorder stage already orders the rows, by their scores: remove it")
	}
	if m := p.mixing; m != nil && m.inLoss != nil && m.Every > 1 && !p.upstream {
		return m.Errorf("every", "%s is updated at every optimizer step: leave every out", m.Key)
	}
	if p.upstream {
		return p.checkUpstream()
	}
	return nil
}

// checkUpstream refuses configurations that DataFlex 1.1 refuses or crashes on.
func (p *pipeline) checkUpstream() error {
	inLoss := len(p.weighing)
	if p.mixing != nil && p.mixing.inLoss != nil {
		inLoss++
	}
	for _, w := range p.weighing {
		if inLoss > 1 {
			return w.Errorf("component", "DataFlex combines a weighter with no other stage that weighs rows: mode: faithful multiplies their weights")
		}
		if w.Component.Name != "loss" && w.Component.Name != "custom" {
			return w.Errorf("component", "DataFlex's pipelines only run the weighters loss and custom: mode: faithful runs %s", w.Component.Name)
		}
	}
	return nil
}

// domainOf returns the domain of a row that may be trained on.
func (p *pipeline) domainOf(row int) int { return p.domain[row] }

// assignDomains assigns every row to its domain.
func (p *pipeline) assignDomains() {
	p.domain = make([]int, len(p.run.Train))
	for i := range p.domain {
		p.domain[i] = -1
	}
	if p.mixing != nil {
		p.domains = p.mixing.domains
	}
	for d, domain := range p.domains {
		for _, r := range domain.Rows {
			p.domain[r] = d
		}
	}
	for r, d := range p.domain {
		if d >= 0 {
			p.rows = append(p.rows, r)
		}
	}
}

// whole returns nil if the pool is all rows of the run, otherwise the pool.
func (p *pipeline) whole(pool []int) []int {
	if len(pool) == len(p.run.Train) {
		return nil
	}
	return pool
}

// Open returns the rows of an interval.
func (p *pipeline) Open(ctx context.Context, step int) (Window, bool, error) {
	s := p.run.Schedule
	opening, update := s.Opening(step)
	if opening == Continue {
		return Window{}, false, nil
	}
	started := time.Now()
	defer p.run.Journal.Phase("selecting")()
	// The selector's key includes this state, too: invalidate it once the selections are made.
	defer func() { p.kept, p.selected = nil, nil }()
	p.kept, p.selected = nil, nil
	at, plan := moment{step, update, s.Update * s.PerStep}, p.planner.next
	if opening == Draw {
		at.n, plan = s.Warmup*s.PerStep, p.planner.warmup
	}
	rows, err := plan(ctx, at)
	if err != nil {
		return Window{}, false, fmt.Errorf("pipeline %s at step %d: %w", p.component.Name, step, err)
	}
	w := Window{Start: step, Rows: rows, Ordered: p.ordering != nil}
	if opening == Draw {
		return w, true, nil
	}
	if err := p.savePlan(step, rows); err != nil {
		return w, false, err
	}
	return w, true, p.run.Journal.Selected(algo.Request{Step: step, Update: update, N: len(rows)}, p.decision(step, rows), time.Since(started).Seconds(), false)
}

// decision returns an interval's rows with the scores by which they were chosen: the selector's
// if it was called for this interval, otherwise the order's.
func (p *pipeline) decision(step int, rows []int) algo.Selection {
	sel := algo.Selection{Indices: rows}
	if s := p.selecting; s != nil && s.last == step {
		sel.Score, sel.Scored, sel.Facts = s.selection.Score, s.selection.Scored, s.selection.Facts
	}
	if p.ordering != nil && sel.Score == nil {
		sel.Ordered = true
		sel.Score, sel.Scored = p.ordering.order.Latest()
	}
	return sel
}

// savePlan writes scoreboard_step_N.json; in mode upstream only where a plan is new and a stage
// has already needed losses.
func (p *pipeline) savePlan(step int, rows []int) error {
	if v, ok := p.planner.(*intervals); p.plans == "" || !p.run.Ranks.First() || ok && (v.again || p.board.empty()) {
		return nil
	}
	if err := storage.MkdirAll(p.plans); err != nil {
		return fmt.Errorf("save_plans: %w", err)
	}
	return storage.WriteFile(filepath.Join(p.plans, fmt.Sprintf("scoreboard_step_%d.json", step)), p.board.plan(rows))
}

// Observe passes the step to the stages that observe.
func (p *pipeline) Observe(ctx context.Context, s *Step) error {
	micros := reports(s, func(row int) int { return max(0, p.domain[row]) })
	if p.mixing != nil {
		p.run.Journal.Trained(micros)
	}
	if p.upstream && slices.ContainsFunc(p.weighing, func(w *weighing) bool { return w.active(s.Index) }) {
		for i := range micros { // upstream reports the micro-batch loss before division (finding 54)
			micros[i].Returned *= float64(len(micros))
		}
	}
	for _, st := range p.stages() {
		if p.upstream && p.mixing != nil && st == &p.mixing.stage && (p.mixing.inLoss != nil || len(p.domains) == 1) {
			continue // it is updated in the step itself, or, with rows of a single domain, not at all
		}
		if _, ok := st.any.(algo.Observer); ok && st.Family == config.SelectorStage {
			p.selected = nil
		}
		if err := st.observe(ctx, s, micros); err != nil {
			return err
		}
	}
	return nil
}

// stages returns all stages in the order in which they are applied.
func (p *pipeline) stages() (out []*stage) {
	if p.selecting != nil {
		out = append(out, &p.selecting.stage)
	}
	if p.mixing != nil {
		out = append(out, &p.mixing.stage)
	}
	if p.ordering != nil {
		out = append(out, &p.ordering.stage)
	}
	for _, w := range p.weighing {
		out = append(out, &w.stage)
	}
	return out
}

// Identity is that of the pipeline with all its stages.
func (p *pipeline) Identity() (string, error) {
	own, err := p.method.Identity()
	if err != nil {
		return "", err
	}
	all := []string{own}
	for _, s := range p.stages() {
		id, err := s.Identity()
		if err != nil {
			return "", err
		}
		all = append(all, s.Family+" "+id)
	}
	return strings.Join(all, "; "), nil
}

// Memory is the sum over the stages.
func (p *pipeline) Memory() (sum uint64) {
	for _, s := range p.stages() {
		sum += s.Memory()
	}
	return sum
}

// Finish lets the stages write their files.
func (p *pipeline) Finish() error {
	var all error
	for _, s := range p.stages() {
		all = errors.Join(all, s.Finish())
	}
	return all
}

// pipelineState is the content of State.
type pipelineState struct {
	Plan   json.RawMessage `json:"plan"` // the planner's state, with the order and the board
	Stages []stageState    `json:"stages"`
	Moved  int             `json:"moved,omitempty"` // of the mixer
}

type stageState struct {
	Last   int             `json:"last"`
	Method json.RawMessage `json:"method,omitempty"`
}

type planState struct {
	Planner json.RawMessage `json:"planner"`
	Order   orderingState   `json:"order"`
	Board   json.RawMessage `json:"board,omitempty"`
	Shares  []float64       `json:"shares,omitempty"`
	Asked   int             `json:"asked,omitempty"`
}

// State is the state of the planner and of every stage.
func (p *pipeline) State() (json.RawMessage, error) {
	if p.kept == nil {
		var s planState
		var err error
		if s.Planner, err = p.planner.state(); err != nil {
			return nil, err
		}
		if s.Board, err = p.board.state(); err != nil {
			return nil, err
		}
		if p.ordering != nil {
			if s.Order, err = p.ordering.orderState(); err != nil {
				return nil, err
			}
		}
		if p.mixing != nil {
			s.Shares, s.Asked = p.mixing.shares, p.mixing.asked
		}
		if p.kept, err = json.Marshal(s); err != nil {
			return nil, err
		}
	}
	out := pipelineState{Plan: p.kept}
	if p.mixing != nil {
		out.Moved = p.mixing.moved
	}
	for _, s := range p.stages() {
		raw, err := p.stageState(s)
		if err != nil {
			return nil, err
		}
		out.Stages = append(out.Stages, stageState{s.last, raw})
	}
	return json.Marshal(out)
}

// stageState is the state of a stage; a selector's can be as large as the data.
func (p *pipeline) stageState(s *stage) (raw json.RawMessage, err error) {
	if s.Family != config.SelectorStage {
		return s.state()
	}
	if p.selected == nil {
		p.selected, err = s.state()
	}
	return p.selected, err
}

// Restore restores State.
func (p *pipeline) Restore(raw json.RawMessage) error {
	if err := p.restore(raw); err != nil {
		return fmt.Errorf("state of pipeline %s: %w", p.component.Name, err)
	}
	return nil
}

func (p *pipeline) restore(raw json.RawMessage) error {
	all := p.stages()
	var plan planState
	var s pipelineState
	if raw != nil {
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		if err := json.Unmarshal(s.Plan, &plan); err != nil {
			return err
		}
		if len(s.Stages) != len(all) {
			return fmt.Errorf("the checkpoint has %d stages, this run has %d", len(s.Stages), len(all))
		}
	}
	for i, st := range all {
		st.last = -1
		if raw == nil {
			continue
		}
		st.last = s.Stages[i].Last
		if err := st.restore(s.Stages[i].Method); err != nil {
			return err
		}
	}
	p.kept, p.selected = s.Plan, nil
	if p.ordering != nil {
		if err := p.ordering.restoreOrder(plan.Order); err != nil {
			return err
		}
	}
	if p.mixing != nil {
		p.mixing.moved = -1
	}
	if p.mixing != nil && raw != nil {
		p.mixing.moved = s.Moved
		p.mixing.shares, p.mixing.asked = plan.Shares, plan.Asked
	}
	return errors.Join(p.board.restore(plan.Board), p.planner.restore(plan.Planner))
}
