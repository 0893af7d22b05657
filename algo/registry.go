package algo

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"dataflex/algo/config"
)

// NewSelector builds a selector for a run from its parameters in components.yaml.
// The parameters it does not ask for are reported as unknown by the caller.
type NewSelector func(run *Run, mode Mode, p *config.Params) (Selector, error)

var registry = struct {
	sync.Mutex
	selectors map[string]NewSelector
}{selectors: map[string]NewSelector{}}

// RegisterSelector makes a selector known under a name. A name is given once:
// a second registration is a programmer error.
func RegisterSelector(name string, build NewSelector) {
	registry.Lock()
	defer registry.Unlock()
	if _, dup := registry.selectors[name]; dup {
		panic("algo: selector " + name + " registered twice")
	}
	registry.selectors[name] = build
}

// Selectors lists the registered names in alphabetical order.
func Selectors() []string {
	registry.Lock()
	defer registry.Unlock()
	names := make([]string, 0, len(registry.selectors))
	for n := range registry.selectors {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// BuildSelector makes the selector a component names and refuses parameters that
// the selector did not read.
func BuildSelector(run *Run, c *config.Component) (Selector, error) {
	registry.Lock()
	build := registry.selectors[c.Name]
	registry.Unlock()
	if build == nil {
		return nil, fmt.Errorf("%s: there is no selector %q; the selectors are %s", c.Position, c.Name, strings.Join(Selectors(), ", "))
	}
	s, err := build(run, Mode(c.Mode), c.Params)
	if err != nil {
		return nil, err
	}
	if err := c.Params.Unknown(); err != nil {
		return nil, err
	}
	return s, nil
}
