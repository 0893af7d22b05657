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

// Shards is how processes share the weights of a model out (DeepSpeed's stage 3, FSDP's
// full_shard): each keeps a share of every section, and has all of a section only while a pass
// is in it, or while somebody reads its weights. What several sections use, tied embeddings for
// example, and what adapters train stays whole on every process.
//
// Whatever brings a section's weights together is a call of all processes, which have unlike
// numbers of passes: so each pass is taken in turn, and a process without one goes along
// (Model.GoAlong).
type Shards struct {
	Rank, Of int // this process, and how many there are
	// Gather overwrites all with the own of every process, in their order; nil on a device that
	// only counts. what says of which section, for messages.
	Gather func(what string, own, all driver.F32) error
	// Take calls do in this process's turn, of which the processes take the greatest first.
	Take func(turn uint32, do func() error) error
}

// window is how many sections have their weights on a process at a time: that of a pass, and
// the one before, with which a backward pass goes on.
const window = 2

// nothing is what a place of the window holds before the first section.
const nothing = -1

// shardedWeights are the weights of a model of which this process keeps a share.
type shardedWeights struct {
	dev      driver.Device
	how      Shards
	sections []sharedSection
	window   [window]driver.Memory
	extra    [window]driver.Memory                            // float32 weights that train, where products read another form
	other    []driver.Memory                                  // parts of what trains, and what stays whole
	together func(what string, trained []*tensor.Param) error // brings parts together in Param.Data
	holds    [window]int                                      // sections; all processes have the same ones

	route *route // of the pass that is being made; nil: none is
}

// route is how far a pass has come. Whatever happens to the pass, it goes all the way, as the
// other processes do.
type route struct {
	up, down    []int    // sections to which it still comes, forward and backward
	follower    Follower // of gradients; nil: they are not followed
	begun, left int      // the last sections of which the follower was told
	failure     error    // of what all processes do
}

// sharedSection is the weights of a section that are used in no other.
type sharedSection struct {
	lodgers []*lodger
	own     driver.Memory   // this process's share of all lodgers' memory; none where all of them train
	trained []*tensor.Param // those that are kept in parts instead
}

// lodger is a parameter whose memory is a place of the window; it is its Home.
type lodger struct {
	weights  *shardedWeights
	section  int
	param    *tensor.Param
	from, to int          // bytes of the section
	parts    []WeightPart // of one that trains
}

// WeightPart is what this process keeps of a parameter that trains: elements [From, To), in
// float32.
type WeightPart struct {
	From, To int
	Values   driver.F32
}

// turns that processes take, in Shards.Take: to read the weights of section s, 1+s; then these.
func (m *Model) forwardTurn() uint32  { return uint32(m.Sections()) + 1 }
func (m *Model) backwardTurn() uint32 { return uint32(m.Sections()) + 2 }

// lodgings is the alignment of a parameter in a section, in bytes.
const lodgings = 256

// shard gives the weights, which have no memory yet, theirs.
func (m *Model) shard(how Shards) error {
	w := &shardedWeights{dev: m.dev, how: how, sections: make([]sharedSection, m.Sections()), holds: [window]int{nothing, nothing}}
	m.shards = w
	spans, sizes := m.Spans(), make([]int, m.Sections())
	for _, p := range m.base() {
		n := p.Needs()
		switch s := spans[p]; {
		case n == 0: // not in the folder, which is reported when it is read
		case s.First != s.Last:
			memory, err := m.dev.Alloc(n)
			if err != nil {
				return fmt.Errorf("%s %v: %w", p.Name, p.Shape, err)
			}
			w.other = append(w.other, memory)
			p.Lodge(memory, driver.F32{}, nil)
		default:
			at := sizes[s.First]
			w.sections[s.First].lodgers = append(w.sections[s.First].lodgers, &lodger{weights: w, section: s.First, param: p, from: at, to: at + n})
			sizes[s.First] += (n + lodgings - 1) / lodgings * lodgings
		}
	}
	var most [window]int
	for s := range w.sections {
		share := (sizes[s]/how.Of + lodgings - 1) / lodgings * lodgings
		if share*how.Of < sizes[s] {
			share += lodgings
		}
		most[s%window] = max(most[s%window], share*how.Of)
		if share == 0 {
			continue
		}
		var err error
		if w.sections[s].own, err = m.dev.Alloc(share); err != nil {
			return fmt.Errorf("this process's share of %s: %w", w.name(s), err)
		}
	}
	for i, n := range most {
		if n == 0 {
			continue
		}
		var err error
		if w.window[i], err = m.dev.Alloc(n); err != nil {
			return fmt.Errorf("the weights of a section at a time: %w", err)
		}
	}
	for s := range w.sections {
		for _, l := range w.sections[s].lodgers {
			l.param.Lodge(piece(w.window[s%window], l.from, l.to), driver.F32{}, l)
		}
	}
	for _, v := range m.views {
		v.follow()
	}
	return nil
}

// piece is bytes [from, to) of memory.
func piece(m driver.Memory, from, to int) driver.Memory {
	return driver.View[uint8](m).Sub(from, to).Memory()
}

// sectionName says which section that is.
func (w *shardedWeights) name(s int) string {
	switch {
	case s == 0:
		return "the embeddings"
	case s == len(w.sections)-1:
		return "the head"
	}
	return fmt.Sprintf("layer %d", s-1)
}

// bytes is the device memory of the weights.
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

// SharesWeights reports whether processes share the weights out.
func (m *Model) SharesWeights() bool { return m.shards != nil }

// WholeWeights lists the model's own weights that every process has all of although weights are
// shared out.
func (m *Model) WholeWeights() (out []*tensor.Param) {
	for _, p := range m.base() {
		if !p.Sharded() {
			out = append(out, p)
		}
	}
	return out
}

// ShardedBytes is the memory of the weights of a model that processes share out, of which
// window is that of the sections that a process has at a time; 0 for any other.
func (m *Model) ShardedBytes() (all, window uint64) {
	if m.shards == nil {
		return 0, 0
	}
	for _, m := range m.shards.window {
		window += uint64(m.Size())
	}
	return m.shards.bytes(), window
}

// gather brings the weights of a section together.
func (w *shardedWeights) gather(s int) error {
	at, section := s%window, &w.sections[s]
	if w.holds[at] == s || w.how.Gather == nil {
		return nil
	}
	w.holds[at] = nothing
	if n := section.own.Size(); n > 0 {
		all := piece(w.window[at], 0, n*w.how.Of)
		if err := w.how.Gather(w.name(s), driver.View[float32](section.own), driver.View[float32](all)); err != nil {
			return err
		}
	}
	if list := section.trained; len(list) > 0 {
		if err := w.together(w.name(s), list); err != nil {
			return err
		}
		for _, p := range list {
			p.Sync(w.dev)
		}
	}
	w.holds[at] = s
	return nil
}

// Fetch implements tensor.Home.
func (l *lodger) Fetch() error {
	w := l.weights
	if w.how.Gather == nil || w.holds[l.section%window] == l.section {
		return nil
	}
	if w.route != nil {
		return fmt.Errorf("the weights of %s are read while a pass is elsewhere", l.param.Name)
	}
	return w.how.Take(uint32(l.section)+1, func() error { return w.gather(l.section) })
}

// Keep implements tensor.Home.
func (l *lodger) Keep() error {
	w := l.weights
	at := l.section % window
	if w.holds[at] != l.section {
		w.holds[at] = nothing
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

// pass makes a pass forward and, if it goes back, backward, when it is this process's turn;
// follows says that the follower is told of it.
func (m *Model) pass(back, follows bool, do func() error) error {
	w := m.shards
	if w == nil || w.how.Take == nil || w.route != nil { // the last is a part of a pass
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

// enter brings the weights of the section together to which a pass comes.
func (m *Model) enter(section int) {
	if m.shards == nil || m.shards.route == nil {
		return
	}
	r := m.shards.route
	for list := range r.ahead() {
		next := (*list)[0]
		if *list = (*list)[1:]; r.failure == nil {
			r.failure = m.shards.gather(next)
		}
		if next == section {
			return
		}
	}
}

// ahead yields the list that begins with the next section, as long as there is one.
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

// begin and leave tell the follower of a section, as far as a pass comes that all processes make.
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

// arrive goes the rest of the way of a pass that has ended before. What it meets there, a
// fault of the device for example, does not end it.
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

// GoAlongBackward is a backward pass of all processes of which this one computes nothing.
func (m *Model) GoAlongBackward() error {
	turn := m.backwardTurn()
	return m.shards.how.Take(turn, func() error { return m.GoAlong(turn, true) })
}

// GoAlong is what this process does while others take a turn: it brings the same weights
// together, and if follow is set, tells the follower of gradients of the same sections.
func (m *Model) GoAlong(turn uint32, follow bool) error {
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
