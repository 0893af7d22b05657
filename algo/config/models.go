package config

import (
	"slices"

	"dataflex.dev/dataflex/data/hub"
)

// findModels replaces names of models on a hub by their folders in its cache.
func (c *Config) findModels() {
	m := &c.Model
	m.Name, m.AdapterNameOrPath = m.NameOrPath, slices.Clone(m.AdapterNameOrPath)
	find := func(key string, path *string, revision string) {
		dir, err := hub.Model(expandUser(*path), revision, m.CacheDir)
		if err != nil {
			c.missing.add(c.Errorf(key, "%w", err))
		}
		*path = dir
	}
	find("model_name_or_path", &m.NameOrPath, m.Revision)
	for i := range m.AdapterNameOrPath {
		find("adapter_name_or_path", &m.AdapterNameOrPath[i], "")
	}
}

// ModelsHere returns an error for every model that is neither a folder nor in a hub's cache.
func (c *Config) ModelsHere() error { return c.missing.err() }

// Model asks for a model: a folder, or a name on a hub, for which the folder in the hub's
// cache is returned. A name that is not in the cache is a fault for Err; a path that does
// not exist is reported by whoever opens it.
func (p *Params) Model(key string) string {
	name := p.String(key, "")
	dir, err := hub.Model(name, "", "")
	if err != nil && hub.IsName(name) {
		p.faults.add(p.Wrap(key, err))
	}
	return dir
}
