package train

import (
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
)

// keepGates applies freeze_gate: isGate says of a module, by its path, that it is one
// that shall not be trained; nil where all are. Gates are the routers of a mixture of
// experts and the gates of its shared experts. Upstream's dynamic_mix goes by names
// that hold "gate", and so freezes the gate_proj of every MLP as well.
func (t *session) keepGates() error {
	c := t.Config
	if !c.Dynamic.FreezeGate {
		return nil
	}
	upstream := false
	if c.Dynamic.TrainType == config.DynamicMix && !c.Dynamic.StaticMix {
		component, err := c.Component()
		if err != nil {
			return err
		}
		upstream = algo.Mode(component.Mode) == algo.Upstream
	}
	t.isGate = func(module string) bool {
		if upstream {
			return strings.Contains(module, "gate")
		}
		return slices.Contains([]string{"gate", "shared_expert_gate"}, module[strings.LastIndexByte(module, '.')+1:])
	}
	if t.model.Config().MoE.Experts == 0 && !upstream {
		t.log.Warn("freeze_gate has no effect: the model is no mixture of experts", "model_type", t.model.Config().ModelType)
	}
	return nil
}

// trains says whether a tensor of the base model may be trained.
func (t *session) trains(name string) bool {
	return t.isGate == nil || !t.isGate(strings.TrimSuffix(strings.TrimSuffix(name, ".weight"), ".bias"))
}

// gatesKept refuses an adapter that is continued and trains what freeze_gate keeps.
func (t *session) gatesKept() error {
	for _, p := range t.model.PairOffsets() {
		if t.isGate != nil && t.isGate(p.Name) {
			return t.Config.Errorf("freeze_gate", "the adapter that is continued trains %s: set create_new_adapter: true, or leave freeze_gate out", p.Name)
		}
	}
	return nil
}
