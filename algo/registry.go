package algo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"dataflex.dev/dataflex/algo/config"
)

// A method is built for a run from its parameters in components.yaml; the caller reports
// parameters that it did not read as unknown.
type (
	NewSelector func(run *Run, mode Mode, p *config.Params) (Selector, error)
	NewMixer    func(run *Run, domains []Domain, mode Mode, p *config.Params) (Mixer, error)
	NewWeighter func(run *Run, mode Mode, p *config.Params) (Weighter, error)
)

// methods is the registry of one kind of method.
type methods[B any] struct {
	kind string
	mu   sync.Mutex
	by   map[string]B
}

var (
	selectors = methods[NewSelector]{kind: "selector"}
	mixers    = methods[NewMixer]{kind: "mixer"}
	weighters = methods[NewWeighter]{kind: "weighter"}
)

// register registers a method. Registering a name twice is a programmer error.
func (m *methods[B]) register(name string, build B) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, dup := m.by[name]; dup {
		panic("algo: " + m.kind + " " + name + " registered twice")
	}
	if m.by == nil {
		m.by = map[string]B{}
	}
	m.by[name] = build
}

func (m *methods[B]) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.by))
}

func (m *methods[B]) find(c *config.Component) (B, error) {
	m.mu.Lock()
	build, ok := m.by[c.Name]
	m.mu.Unlock()
	if !ok {
		return build, fmt.Errorf("%s: there is no %s %q; there are %s", c.Position, m.kind, c.Name, strings.Join(m.names(), ", "))
	}
	return build, nil
}

// RegisterSelector registers a selector.
func RegisterSelector(name string, build NewSelector) { selectors.register(name, build) }

// RegisterMixer registers a mixer.
func RegisterMixer(name string, build NewMixer) { mixers.register(name, build) }

// RegisterWeighter registers a weighter.
func RegisterWeighter(name string, build NewWeighter) { weighters.register(name, build) }

// Selectors lists the registered selectors in alphabetical order.
func Selectors() []string { return selectors.names() }

// Mixers lists the registered mixers.
func Mixers() []string { return mixers.names() }

// Weighters lists the registered weighters.
func Weighters() []string { return weighters.names() }

// BuildSelector builds the selector that a component names and refuses parameters that the
// selector did not read.
func BuildSelector(run *Run, c *config.Component) (Selector, error) {
	build, err := selectors.find(c)
	if err != nil {
		return nil, err
	}
	s, err := build(run, Mode(c.Mode), c.Params)
	if err != nil {
		return nil, err
	}
	return s, c.Params.Unknown()
}

// BuildMixer builds the mixer that a component names.
func BuildMixer(run *Run, domains []Domain, c *config.Component) (Mixer, error) {
	build, err := mixers.find(c)
	if err != nil {
		return nil, err
	}
	m, err := build(run, domains, Mode(c.Mode), c.Params)
	if err != nil {
		return nil, err
	}
	return m, c.Params.Unknown()
}

// BuildWeighter builds the weighter that a component names.
func BuildWeighter(run *Run, c *config.Component) (Weighter, error) {
	build, err := weighters.find(c)
	if err != nil {
		return nil, err
	}
	w, err := build(run, Mode(c.Mode), c.Params)
	if err != nil {
		return nil, err
	}
	return w, c.Params.Unknown()
}
