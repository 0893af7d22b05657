package decoder

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/tensor"
)

// KeepInParts has what trains of the weights that processes share out kept as the optimizer
// steps it, in float32. parts says which elements of a parameter are this process's, and
// keep receives their memory, which holds the numbers. together brings the parts of all processes
// together in Param.Data of some parameters of a section, at its next use.
func (m *Model) KeepInParts(parts func(*tensor.Param) []WeightPart, keep func(*tensor.Param, []WeightPart), together func(what string, params []*tensor.Param) error) error {
	w := m.shards
	if err := m.widenWindow(); err != nil {
		return err
	}
	for s := range w.sections {
		section := &w.sections[s]
		lodgers := section.training()
		if len(lodgers) == 0 {
			continue
		}
		if err := lodgers[0].Fetch(); err != nil {
			return err
		}
		for _, l := range lodgers {
			l.param.Widen(w.dev)
			if l.parts = parts(l.param); len(l.parts) > 0 {
				if err := w.memoryOf(l); err != nil {
					return fmt.Errorf("this process's part of %s: %w", l.param.Name, err)
				}
			}
			if err := l.Keep(); err != nil {
				return err
			}
			keep(l.param, l.parts)
			section.trained = append(section.trained, l.param)
		}
		if len(lodgers) == len(section.lodgers) {
			w.dev.Free(section.own)
			section.own = driver.Memory{}
		}
	}
	w.together = together
	for _, v := range m.views {
		v.follow()
	}
	return nil
}

// training lists those that train.
func (s *sharedSection) training() (out []*lodger) {
	for _, l := range s.lodgers {
		if l.param.Trainable() && l.param.Sharded() {
			out = append(out, l)
		}
	}
	return out
}

// widenWindow gives float32 weights that train a place of the window where products read
// another form.
func (m *Model) widenWindow() error {
	w := m.shards
	places := func(s int, f func(l *lodger, from, to int)) (size int) {
		for _, l := range w.sections[s].training() {
			if l.param.Data.IsNil() {
				n := 4 * l.param.Size()
				f(l, size, size+n)
				size += (n + lodgings - 1) / lodgings * lodgings
			}
		}
		return size
	}
	var most [window]int
	for s := range w.sections {
		most[s%window] = max(most[s%window], places(s, func(*lodger, int, int) {}))
	}
	for i, n := range most {
		if n == 0 {
			continue
		}
		var err error
		if w.extra[i], err = w.dev.Alloc(n); err != nil {
			return fmt.Errorf("the float32 weights of a section at a time: %w", err)
		}
	}
	for s := range w.sections {
		places(s, func(l *lodger, from, to int) {
			l.param.Lodge(piece(w.window[s%window], l.from, l.to), driver.View[float32](piece(w.extra[s%window], from, to)), l)
		})
	}
	return nil
}

// memoryOf gives this process's parts of a parameter memory.
func (w *shardedWeights) memoryOf(l *lodger) error {
	size := 0
	for _, part := range l.parts {
		size += 4 * (part.To - part.From)
	}
	memory, err := w.dev.Alloc(size)
	if err != nil {
		return err
	}
	w.other = append(w.other, memory)
	rest := driver.View[float32](memory)
	for i := range l.parts {
		part := &l.parts[i]
		n := part.To - part.From
		part.Values, rest = rest.Sub(0, n), rest.Sub(n, rest.Len())
	}
	return nil
}

// ForgetWeights says that the weights kept in parts have changed: they are brought together again
// at their next use.
func (m *Model) ForgetWeights() { m.shards.holds = [window]int{nothing, nothing} }
