package optim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// kwargs reads lr_scheduler_kwargs and keeps the first error.
type kwargs struct {
	owner  string // for messages
	values map[string]any
	err    error
}

func (k *kwargs) fail(format string, args ...any) {
	if k.err == nil {
		k.err = fmt.Errorf("%s: "+format, append([]any{k.owner}, args...)...)
	}
}

// only refuses keys that are not in known.
func (k *kwargs) only(known []string) {
	for _, key := range slices.Sorted(maps.Keys(k.values)) {
		switch {
		case slices.Contains(known, key):
		case len(known) == 0:
			k.fail("lr_scheduler_kwargs has %q, but this schedule takes none: remove it", key)
		default:
			k.fail("lr_scheduler_kwargs has %q, known are: %s", key, strings.Join(known, ", "))
		}
	}
}

func (k *kwargs) has(key string) bool { return k.values[key] != nil }

// float reads any kind of number.
func (k *kwargs) float(key string, def float64) float64 {
	switch v := k.values[key].(type) {
	case nil:
		return def
	case float64:
		return v
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
	}
	k.fail("lr_scheduler_kwargs: %s is %v, want a number", key, k.values[key])
	return def
}

// choice looks up the name under key in table.
func choice[T any](k *kwargs, key, def string, table map[string]T) T {
	name := def
	if k.has(key) {
		name = fmt.Sprint(k.values[key])
	}
	v, ok := table[name]
	if !ok {
		k.fail("lr_scheduler_kwargs: %s is %q, known are: %s", key, name, strings.Join(slices.Sorted(maps.Keys(table)), ", "))
	}
	return v
}

// floor is min_lr_rate, or min_lr as a share of the learning rate.
func (k *kwargs) floor(lr float64) float64 {
	if k.has("min_lr") == k.has("min_lr_rate") {
		k.fail("lr_scheduler_kwargs needs exactly one of min_lr and min_lr_rate")
		return 0
	}
	if k.has("min_lr") {
		return k.float("min_lr", 0) / lr
	}
	return k.float("min_lr_rate", 0)
}
