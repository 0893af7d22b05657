package decoder

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/tensor"
)

// Shards divides the weights of a model among processes (DeepSpeed's ZeRO stage 3: Rajbhandari
// et al. 2020, arXiv:1910.02054, section 5.3; FSDP's full_shard). Each process keeps a part of
// every section. It has a whole section in memory only while a pass is in that section, or
// while the section's weights are read. Parameters used in several sections, such as tied
// embeddings, and those of adapters stay whole on every process.
//
// While a pass computes one section, the next one is gathered into the other place of the window.
//
// Gathering a section is a collective call, and processes have different numbers of passes.
// Therefore processes take turns: while one makes a pass, those without a pass of their own
// make the same calls (Model.RunIdle).
type Shards struct {
	Rank, Of int // this process, and the number of processes
	// Gather begins to overwrite all with the parts own of every process, in order of rank; nil
	// on a device that only counts memory. It does so after the work that the device was given
	// before, and beside what it is given until wait is called, which returns when all is
	// complete. what names the section in messages.
	Gather func(what string, own, all driver.F32) (wait func() error)
	// Take runs do when it is this process's turn. The highest turn that any process asks for
	// comes first.
	Take func(turn uint32, do func() error) error
}

// window is the number of sections in memory at a time: the one that a pass is in and the
// previous one, with which a backward pass continues.
const window = 2

// noSection marks a place of the window that holds no section yet.
const noSection = -1

// shardedWeights are the weights of a sharded model on this process.
type shardedWeights struct {
	dev      driver.Device
	how      Shards
	sections []sharedSection
	window   [window]driver.Memory
	extra    [window]driver.Memory // trained float32 weights, if products read another form
	other    []driver.Memory       // parts of trained weights, and weights that stay whole
	together GatherParts           // of trained weights
	holds    [window]int           // the sections in the window, the same ones on all processes
	ahead    func() error          // completes the section that is being gathered; nil: none is

	route *route // of the current pass; nil outside of a pass
}

// route is the progress of a pass. A pass that fails still visits the remaining sections,
// because the other processes do.
type route struct {
	up, down    []int    // the sections still to be visited, forward and backward
	follower    Follower // of the gradients; nil: this pass has none
	begun, left int      // the last sections whose Before and After were called
	failure     error    // the first one outside of what the pass computes
}

// sharedSection holds the weights of a section that no other section uses.
type sharedSection struct {
	params  []*shardedParam
	own     driver.Memory   // this process's part of the section's memory; none if all its weights are trained
	trained []*tensor.Param // the trained weights, which are kept in parts instead
}

// shardedParam is a parameter whose memory is a place of the window; it is the parameter's
// tensor.WeightStore.
type shardedParam struct {
	weights  *shardedWeights
	section  int
	param    *tensor.Param
	from, to int          // its bytes in the section
	parts    []WeightPart // of a trained parameter
}

// WeightPart is what this process keeps of a trained parameter: elements [From, To) in float32.
type WeightPart struct {
	From, To int
	Values   driver.F32
}

// The turns for Shards.Take: 1+s reads the weights of section s; the turns of passes come after
// these.
func (m *Model) forwardTurn() uint32  { return uint32(m.Sections()) + 1 }
func (m *Model) backwardTurn() uint32 { return uint32(m.Sections()) + 2 }

// sectionAlign is the alignment of parameters in a section, in bytes.
const sectionAlign = 256

// shard allocates the memory of the weights: the window, this process's parts, and the weights
// that stay whole.
func (m *Model) shard(how Shards) error {
	w := &shardedWeights{dev: m.dev, how: how, sections: make([]sharedSection, m.Sections()), holds: [window]int{noSection, noSection}}
	m.shards = w
	spans, sizes := m.Spans(), make([]int, m.Sections())
	for _, p := range m.base() {
		n := p.Needs()
		switch s := spans[p]; {
		case n == 0: // missing in the folder; reading it reports that
		case s.First != s.Last:
			memory, err := m.dev.Alloc(n)
			if err != nil {
				return fmt.Errorf("%s %v: %w", p.Name, p.Shape, err)
			}
			w.other = append(w.other, memory)
			p.Attach(memory, driver.F32{}, nil)
		default:
			at := sizes[s.First]
			w.sections[s.First].params = append(w.sections[s.First].params, &shardedParam{weights: w, section: s.First, param: p, from: at, to: at + n})
			sizes[s.First] += (n + sectionAlign - 1) / sectionAlign * sectionAlign
		}
	}
	if err := w.allocate(sizes); err != nil {
		return err
	}
	for s := range w.sections {
		for _, l := range w.sections[s].params {
			l.param.Attach(piece(w.window[s%window], l.from, l.to), driver.F32{}, l)
		}
	}
	for _, v := range m.views {
		v.follow()
	}
	return nil
}

// allocate allocates this process's parts of the sections, which have that many bytes, and the
// window.
func (w *shardedWeights) allocate(sizes []int) error {
	var most [window]int
	for s := range w.sections {
		share := (sizes[s]/w.how.Of + sectionAlign - 1) / sectionAlign * sectionAlign
		if share*w.how.Of < sizes[s] {
			share += sectionAlign
		}
		most[s%window] = max(most[s%window], share*w.how.Of)
		if share == 0 {
			continue
		}
		var err error
		if w.sections[s].own, err = w.dev.Alloc(share); err != nil {
			return fmt.Errorf("this process's share of %s: %w", w.name(s), err)
		}
	}
	for i, n := range most {
		if n == 0 {
			continue
		}
		var err error
		if w.window[i], err = w.dev.Alloc(n); err != nil {
			return fmt.Errorf("the weights of a section at a time: %w", err)
		}
	}
	return nil
}

// piece returns bytes [from, to) of m.
func piece(m driver.Memory, from, to int) driver.Memory {
	return driver.View[uint8](m).Sub(from, to).Memory()
}

// name returns a section's name for messages.
func (w *shardedWeights) name(s int) string {
	switch {
	case s == 0:
		return "the embeddings"
	case s == len(w.sections)-1:
		return "the head"
	}
	return fmt.Sprintf("layer %d", s-1)
}

// bytes returns the device memory that the weights take.
func (w *shardedWeights) bytes() (n uint64) {
	for _, list := range [][]driver.Memory{w.window[:], w.extra[:], w.other} {
		for _, m := range list {
			n += uint64(m.Size())
		}
	}
	for _, s := range w.sections {
		n += uint64(s.own.Size())
	}
	return n
}

func (w *shardedWeights) close() {
	list := append(append(w.window[:], w.extra[:]...), w.other...)
	for _, s := range w.sections {
		list = append(list, s.own)
	}
	for _, m := range list {
		if m.Size() > 0 {
			w.dev.Free(m)
		}
	}
}

// SharesWeights reports whether the weights are sharded.
func (m *Model) SharesWeights() bool { return m.shards != nil }

// WholeWeights lists the weights that stay whole on every process of a sharded model.
func (m *Model) WholeWeights() (out []*tensor.Param) {
	for _, p := range m.base() {
		if !p.Sharded() {
			out = append(out, p)
		}
	}
	return out
}

// ShardedBytes returns the memory that a sharded model's weights take on this process, and the
// part of it that is the window; 0 for other models.
func (m *Model) ShardedBytes() (all, window uint64) {
	if m.shards == nil {
		return 0, 0
	}
	for _, m := range m.shards.window {
		window += uint64(m.Size())
	}
	return m.shards.bytes(), window
}

// gather gathers the weights of section s into the window, unless they are there.
func (w *shardedWeights) gather(s int) error {
	if err := w.complete(); err != nil {
		return err
	}
	w.begin(s)
	return w.complete()
}

// begin begins to gather the weights of section s, unless they are in the window. The pass must have
// left the section whose place they take, and another section must not be on its way.
func (w *shardedWeights) begin(s int) {
	at, section := s%window, &w.sections[s]
	if w.holds[at] == s || w.how.Gather == nil {
		return
	}
	w.holds[at] = noSection
	var waits []func() error
	if n := section.own.Size(); n > 0 {
		all := piece(w.window[at], 0, n*w.how.Of)
		waits = append(waits, w.how.Gather(w.name(s), driver.View[float32](section.own), driver.View[float32](all)))
	}
	if len(section.trained) > 0 {
		waits = append(waits, w.together(w.name(s), section.trained))
	}
	w.ahead = func() error {
		var failure error
		for _, wait := range waits {
			failure = errors.Join(failure, wait())
		}
		if failure != nil {
			return failure
		}
		for _, p := range section.trained {
			p.Sync(w.dev)
		}
		w.holds[at] = s
		return nil
	}
}

// complete waits for the section that is being gathered, if any.
func (w *shardedWeights) complete() error {
	ahead := w.ahead
	if ahead == nil {
		return nil
	}
	w.ahead = nil
	return ahead()
}

// Fetch implements tensor.WeightStore.
func (l *shardedParam) Fetch() error {
	w := l.weights
	if w.how.Gather == nil || w.holds[l.section%window] == l.section {
		return nil
	}
	if w.route != nil {
		return fmt.Errorf("the weights of %s are read while a pass is elsewhere", l.param.Name)
	}
	return w.how.Take(uint32(l.section)+1, func() error { return w.gather(l.section) })
}

// Keep implements tensor.WeightStore.
func (l *shardedParam) Keep() error {
	w := l.weights
	at := l.section % window
	if w.holds[at] != l.section {
		w.holds[at] = noSection
	}
	for _, part := range l.parts {
		if err := driver.Copy(w.dev, part.Values, l.param.Data.Sub(part.From, part.To)); err != nil {
			return err
		}
	}
	own := w.sections[l.section].own
	begins := own.Size() * w.how.Rank
	from, to := max(l.from, begins), min(l.to, begins+own.Size())
	if from >= to {
		return nil
	}
	return driver.Copy(w.dev, driver.View[uint8](piece(own, from-begins, to-begins)), driver.View[uint8](piece(w.window[at], from, to)))
}

// pass makes a forward pass, and with back also a backward pass, when it is this process's
// turn. With follows the Follower of gradients is called.
func (m *Model) pass(back, follows bool, do func() error) error {
	w := m.shards
	if w == nil || w.how.Take == nil || w.route != nil { // the last: do is part of a pass
		return do()
	}
	turn := m.forwardTurn()
	if back {
		turn = m.backwardTurn()
	}
	return w.how.Take(turn, func() error {
		w.route = m.newRoute(back, follows)
		err := task.Catch(do)
		m.arrive()
		failure := w.route.failure
		w.route = nil
		return errors.Join(err, failure)
	})
}

func (m *Model) newRoute(back, follows bool) *route {
	n := m.Sections()
	r := &route{begun: n, left: n}
	if follows {
		r.follower = m.follower
	}
	for s := range n {
		r.up = append(r.up, s)
	}
	if back {
		r.down = slices.Clone(r.up)
		slices.Reverse(r.down)
	}
	return r
}

// enter has the weights of the section that a pass comes to gathered, and begins to gather those of
// the section after it. Every process does so at the same places of its pass, so that all of them
// make the same calls in the same order.
func (m *Model) enter(section int) {
	if m.shards == nil || m.shards.route == nil {
		return
	}
	r := m.shards.route
	for list := range r.ahead() {
		next := (*list)[0]
		*list = (*list)[1:]
		if err := m.shards.gather(next); r.failure == nil {
			r.failure = err
		}
		if next == section {
			break
		}
	}
	for list := range r.ahead() {
		m.shards.begin((*list)[0])
		return
	}
}

// ahead yields the list that contains the next section, until both lists are empty.
func (r *route) ahead() iter.Seq[*[]int] {
	return func(yield func(*[]int) bool) {
		for {
			list := &r.up
			if len(*list) == 0 {
				list = &r.down
			}
			if len(*list) == 0 || !yield(list) {
				return
			}
		}
	}
}

// begin and leave call the Follower's methods and record the section, so that arrive can
// complete a pass that has failed.
func (m *Model) begin(f Follower, section int) error {
	if w := m.shards; w != nil && w.route != nil {
		w.route.begun = section
	}
	return f.Before(section)
}

func (m *Model) leave(f Follower, section int) error {
	if w := m.shards; w != nil && w.route != nil {
		w.route.left = section
	}
	return f.After(section)
}

// arrive visits the remaining sections of a pass that has ended early. Failures on the way, of
// the device for example, do not stop it.
func (m *Model) arrive() {
	r := m.shards.route
	each := func(do func() error) {
		if err := task.Catch(do); r.failure == nil {
			r.failure = err
		}
	}
	for len(r.up) > 0 {
		each(func() error { m.enter(r.up[0]); return nil })
	}
	if f := r.follower; f != nil && r.begun < r.left {
		each(func() error { return m.leave(f, r.begun) })
	}
	for len(r.down) > 0 {
		s := r.down[0]
		each(func() error { m.enter(s); return nil })
		if f := r.follower; f != nil && s < r.begun {
			each(func() error { return m.begin(f, s) })
			each(func() error { return m.leave(f, s) })
		}
	}
}

// RunIdleBackward takes part in a backward pass for which this process has nothing to compute.
func (m *Model) RunIdleBackward() error {
	turn := m.backwardTurn()
	return m.shards.how.Take(turn, func() error { return m.RunIdle(turn, true) })
}

// RunIdle takes part in another process's turn: it gathers the same sections and, with follow,
// calls the Follower for them.
func (m *Model) RunIdle(turn uint32, follow bool) error {
	w := m.shards
	if turn < m.forwardTurn() {
		return w.gather(int(turn) - 1)
	}
	w.route = m.newRoute(turn == m.backwardTurn(), follow)
	m.arrive()
	failure := w.route.failure
	w.route = nil
	return failure
}
