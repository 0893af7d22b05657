package optim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/tensor"
)

// Settings are a configuration's settings of the optimizer.
type Settings struct {
	WeightDecay       float64
	Beta1, Beta2, Eps float64

	// Groups replaces the default split of the parameters (for LoRA+); nil = the default.
	Groups []Group

	// Shares says which parts of the parameters this process steps; nil = all of them.
	Shares Shares
}

// method is a kind of optimizer.
type method struct {
	groups func(s Settings, params []*tensor.Param) []Group
	make   func(dev driver.Device, groups []Group, s Settings) (Optimizer, error)
	whole  string // why it steps whole parameters; "" where every element stands alone
}

// MuonName is the optimizer of use_muon; upstream has no value of optim for it.
const MuonName = "muon"

// names are transformers' values of optim. Those whose state upstream stores in 8 bits, in
// paged memory or on another vendor's hardware map to the same maths in float32.
var names = map[string]method{
	"adamw_torch": ofAdamW, "adamw_torch_fused": ofAdamW, "adamw_hf": ofAdamW, "adamw_torch_xla": ofAdamW,
	"adamw_torch_npu_fused": ofAdamW, "adamw_apex_fused": ofAdamW, "adamw_torch_8bit": ofAdamW, "adamw_torch_4bit": ofAdamW,
	"adamw_8bit": ofAdamW, "adamw_bnb_8bit": ofAdamW, "paged_adamw_32bit": ofAdamW, "paged_adamw_8bit": ofAdamW,
	"lion_32bit": ofLion, "lion_8bit": ofLion, "paged_lion_32bit": ofLion, "paged_lion_8bit": ofLion,
	"sgd": ofSGD, "adafactor": ofAdafactor,
	MuonName: ofMuon,
}

// refused are transformers' other values, with the nearest supported one.
var refused = map[string]string{
	"adamw_anyprecision": "adamw_torch", "ademamix": "adamw_torch", "ademamix_8bit": "adamw_torch", "paged_ademamix_32bit": "adamw_torch",
	"paged_ademamix_8bit": "adamw_torch", "adagrad": "adafactor", "rmsprop": "adamw_torch", "rmsprop_bnb": "adamw_torch", "rmsprop_bnb_8bit": "adamw_torch",
	"rmsprop_bnb_32bit": "adamw_torch", "galore_adamw": "adamw_torch", "galore_adamw_8bit": "adamw_torch", "galore_adafactor": "adafactor",
	"galore_adamw_layerwise": "adamw_torch", "galore_adamw_8bit_layerwise": "adamw_torch", "galore_adafactor_layerwise": "adafactor", "lomo": "sgd",
	"adalomo": "adafactor", "grokadamw": "adamw_torch", "schedule_free_radam": "adamw_torch", "schedule_free_adamw": "adamw_torch",
	"schedule_free_sgd": "sgd", "apollo_adamw": "adamw_torch", "apollo_adamw_layerwise": "adamw_torch", "stable_adamw": "adamw_torch",
}

// Check refuses a value of optim that New does not support, naming the nearest one that it
// does.
func Check(name string) error {
	if name == MuonName {
		return errors.New("select muon with use_muon: true")
	}
	if _, ok := names[name]; ok {
		return nil
	}
	if near, ok := refused[name]; ok {
		return fmt.Errorf("%s is not supported here: the nearest is %s", name, near)
	}
	known := slices.DeleteFunc(slices.Sorted(maps.Keys(names)), func(n string) bool { return n == MuonName })
	return fmt.Errorf("%q is unknown, known are: %s", name, strings.Join(known, ", "))
}

// Equivalent describes in one line the optimizer that is used instead of one whose state
// upstream stores in another form; "" where it is the same.
func Equivalent(name string) string {
	for _, kept := range []struct{ part, how string }{{"8bit", "in 8 bits"}, {"4bit", "in 4 bits"}, {"paged", "in memory paged to the host"}} {
		if strings.Contains(name, kept.part) {
			return fmt.Sprintf("optim %s: upstream stores its state %s; here the same maths runs with the state in float32 on the device", name, kept.how)
		}
	}
	return ""
}

// New constructs the named optimizer over params, with a state of zeros on dev.
func New(name string, dev driver.Device, params []*tensor.Param, s Settings) (Optimizer, error) {
	m, ok := names[name]
	if !ok {
		return nil, Check(name)
	}
	groups := s.Groups
	if groups == nil {
		groups = m.groups(s, params)
	}
	switch {
	case s.Shares == nil:
		return m.make(dev, groups, s)
	case m.whole != "":
		return nil, fmt.Errorf("%s %s, which several processes do not share out: take stage 0 (no_shard), or optim: adamw_torch, lion_32bit or sgd", name, m.whole)
	}
	return newSharded(m, dev, groups, s)
}

var (
	ofAdamW = method{
		groups: func(s Settings, params []*tensor.Param) []Group { return Groups(params, s.WeightDecay) },
		make: func(dev driver.Device, groups []Group, s Settings) (Optimizer, error) {
			return made(NewAdamW(dev, groups, s.Beta1, s.Beta2, s.Eps))
		},
	}
	ofLion = method{groups: Settings.later, make: func(dev driver.Device, groups []Group, s Settings) (Optimizer, error) {
		return made(NewLion(dev, groups, s.Beta1, s.Beta2))
	}}
	ofSGD = method{groups: Settings.later, make: func(dev driver.Device, groups []Group, _ Settings) (Optimizer, error) {
		return made(NewSGD(dev, groups))
	}}
	ofAdafactor = method{groups: Settings.later, make: func(dev driver.Device, groups []Group, _ Settings) (Optimizer, error) {
		return made(NewAdafactor(dev, groups))
	}, whole: "keeps means of whole rows and columns, and clips whole updates"}
	ofMuon = method{
		groups: func(s Settings, params []*tensor.Param) []Group { return []Group{{params, 1, s.WeightDecay}} },
		make: func(dev driver.Device, groups []Group, s Settings) (Optimizer, error) {
			return made(NewMuon(dev, groups, s.Beta1, s.Beta2, s.Eps))
		}, whole: "orthogonalises whole matrices",
	}
)

// later is the split of transformers 4.57, with which the optimizers other than AdamW were
// recorded: it decays no norms.
func (s Settings) later(params []*tensor.Param) []Group {
	return split(params, s.WeightDecay, noDecayNorms.MatchString)
}

// made replaces the optimizer of a failed call by a nil Optimizer.
func made[O Optimizer](o O, err error) (Optimizer, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}
