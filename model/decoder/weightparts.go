package decoder

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// GatherParts begins to gather the parts of all processes into Param.Data of some parameters of a
// section, called what in messages; wait returns when they are complete, as that of Shards.Gather.
type GatherParts func(what string, params []*tensor.Param) (wait func() error)

// KeepInParts keeps the trained weights of a sharded model as the optimizer updates them, in
// float32. parts returns the elements of a parameter that this process keeps, and keep receives
// their memory, initialised with the weights. together is called when a section is next used.
func (m *Model) KeepInParts(parts func(*tensor.Param) []WeightPart, keep func(*tensor.Param, []WeightPart), together GatherParts) error {
	w := m.shards
	if err := m.widenWindow(); err != nil {
		return err
	}
	for s := range w.sections {
		section := &w.sections[s]
		params := section.training()
		if len(params) == 0 {
			continue
		}
		if err := params[0].Fetch(); err != nil {
			return err
		}
		for _, l := range params {
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
		if len(params) == len(section.params) {
			w.dev.Free(section.own)
			section.own = driver.Memory{}
		}
	}
	w.together = together
	for _, v := range m.views {
		v.follow()
	}
	return m.readSavesAgain()
}

// readSavesAgain reads the modules that a loaded adapter trains in full once more: when the adapter
// was read a sharded weight had no float32 memory yet, and was rounded to what products read.
func (m *Model) readSavesAgain() error {
	if m.adapter == nil || m.adapter.read == nil || m.options.Planned {
		return nil
	}
	w, err := checkpoint.OpenAdapter(m.adapter.dir)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, p := range m.Trainable() {
		if !m.adapter.saves[p] || !p.Sharded() {
			continue
		}
		if err := p.Write(m.dev, m.source(p, w, m.adapterName(p)).Float32); err != nil {
			return err
		}
	}
	return nil
}

// training returns the parameters of the section that are trained.
func (s *sharedSection) training() (out []*shardedParam) {
	for _, l := range s.params {
		if l.param.Trainable() && l.param.Sharded() {
			out = append(out, l)
		}
	}
	return out
}

// widenWindow allocates a second window for trained float32 weights, if products read another
// form.
func (m *Model) widenWindow() error {
	w := m.shards
	places := func(s int, f func(l *shardedParam, from, to int)) (size int) {
		for _, l := range w.sections[s].training() {
			if l.param.Data.IsNil() {
				n := 4 * l.param.Size()
				f(l, size, size+n)
				size += (n + sectionAlign - 1) / sectionAlign * sectionAlign
			}
		}
		return size
	}
	var most [window]int
	for s := range w.sections {
		most[s%window] = max(most[s%window], places(s, func(*shardedParam, int, int) {}))
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
		places(s, func(l *shardedParam, from, to int) {
			l.param.Attach(piece(w.window[s%window], l.from, l.to), driver.View[float32](piece(w.extra[s%window], from, to)), l)
		})
	}
	return nil
}

// memoryOf allocates the memory of this process's parts of a parameter.
func (w *shardedWeights) memoryOf(l *shardedParam) error {
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

// ForgetWeights says that the optimizer has changed the parts: sections are gathered again when
// they are next used.
func (m *Model) ForgetWeights() { m.shards.holds = [window]int{noSection, noSection} }
