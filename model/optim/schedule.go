package optim

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Schedule returns the factor of the learning rate in the optimizer step after step completed
// ones: the first step uses Schedule(0).
type Schedule func(step int) float64

// builder makes a schedule with warmup warm-up steps and total steps at learning rate lr.
type builder struct {
	kwargs []string // the keys that lr_scheduler_kwargs may have
	build  func(k *kwargs, warmup, total, lr float64) Schedule
}

// schedules holds transformers' get_scheduler by lr_scheduler_type, formula by
// formula (transformers 4.52 optimization.py; cosine_warmup_with_min_lr: 4.54).
var schedules = map[string]builder{
	"constant":             {nil, func(*kwargs, float64, float64, float64) Schedule { return func(int) float64 { return 1 } }},
	"constant_with_warmup": {nil, constantWithWarmup},
	"linear":               {nil, linear},
	"cosine":               {[]string{"num_cycles"}, cosine},
	"cosine_with_restarts": {[]string{"num_cycles"}, cosineWithRestarts},
	"polynomial":           {[]string{"lr_end", "power"}, polynomial},
	"inverse_sqrt":         {nil, inverseSqrt},
	"cosine_with_min_lr":   {[]string{"num_cycles", "min_lr", "min_lr_rate"}, cosineWithMinLR},
	"cosine_warmup_with_min_lr": {
		[]string{"num_cycles", "min_lr", "min_lr_rate", "warmup_lr_rate"}, cosineWarmupWithMinLR,
	},
	"warmup_stable_decay": {
		[]string{"num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"}, warmupStableDecay,
	},
}

// PlateauName is the lr_scheduler_type that depends on an evaluation's metric instead of the
// step: see Plateau.
const PlateauName = "reduce_lr_on_plateau"

// NewSchedule builds the schedule of that lr_scheduler_type. args are lr_scheduler_kwargs;
// warmup and total count optimizer steps; lr is learning_rate, which schedules with an absolute
// end value need. An unknown name or key is an error that lists the known ones.
//
// warmup_stable_decay follows transformers: with only num_decay_steps the stable part is the
// remainder. LLaMA-Factory sets more defaults first: a run with its files passes args through
// StableDecayDefaults; NewSchedule does so only where transformers would fail for lack of
// num_decay_steps.
func NewSchedule(name string, args map[string]any, warmup, total int, lr float64) (Schedule, error) {
	if name == PlateauName {
		return nil, fmt.Errorf("lr_scheduler_type %s depends on the evaluations, not on the step: use NewPlateau", name)
	}
	b, ok := schedules[name]
	if !ok {
		known := append(slices.Collect(maps.Keys(schedules)), PlateauName)
		slices.Sort(known)
		return nil, fmt.Errorf("lr_scheduler_type %q is unknown, known are: %s", name, strings.Join(known, ", "))
	}
	if warmup < 0 || total < 0 {
		return nil, fmt.Errorf("lr_scheduler_type %s: %d warm-up steps of %d", name, warmup, total)
	}
	k := &kwargs{owner: "lr_scheduler_type " + name, values: args}
	k.only(b.kwargs)
	s := b.build(k, float64(warmup), float64(total), lr)
	if k.err != nil {
		return nil, k.err
	}
	return s, nil
}

// StableDecayDefaults adds to args the values that LLaMA-Factory 0.9.4 sets for
// warmup_stable_decay where they are missing: of the steps after the warm-up a third is stable
// and the rest decays.
func StableDecayDefaults(args map[string]any, warmup, total int) map[string]any {
	out := maps.Clone(args)
	if out == nil {
		out = map[string]any{}
	}
	left := max(total-warmup, 0)
	for key, v := range map[string]int{"num_stable_steps": left / 3, "num_decay_steps": left - left/3} {
		if _, given := out[key]; !given {
			out[key] = v
		}
	}
	return out
}

// warmed adds the linear warm-up before f.
func warmed(warmup float64, f func(t float64) float64) Schedule {
	return func(step int) float64 {
		if t := float64(step); t < warmup {
			return t / math.Max(1, warmup)
		} else {
			return f(t)
		}
	}
}

func constantWithWarmup(_ *kwargs, warmup, _, _ float64) Schedule {
	return warmed(warmup, func(float64) float64 { return 1 })
}

func linear(_ *kwargs, warmup, total, _ float64) Schedule {
	return warmed(warmup, func(t float64) float64 { return math.Max(0, (total-t)/math.Max(1, total-warmup)) })
}

func cosine(k *kwargs, warmup, total, _ float64) Schedule {
	return flooredCosine(k.float("num_cycles", 0.5), 0, warmup, total)
}

// flooredCosine falls from 1 to floor in half a period (cycles ½); after total it rises again,
// as in transformers.
func flooredCosine(cycles, floor, warmup, total float64) Schedule {
	return warmed(warmup, func(t float64) float64 {
		u := (t - warmup) / math.Max(1, total-warmup)
		f := 0.5 * (1 + math.Cos(math.Pi*cycles*2*u))
		return math.Max(0, f*(1-floor)+floor)
	})
}

func cosineWithRestarts(k *kwargs, warmup, total, _ float64) Schedule {
	cycles := k.float("num_cycles", 1)
	return warmed(warmup, func(t float64) float64 {
		u := (t - warmup) / math.Max(1, total-warmup)
		if u >= 1 {
			return 0
		}
		return math.Max(0, 0.5*(1+math.Cos(math.Pi*math.Mod(cycles*u, 1))))
	})
}

func polynomial(k *kwargs, warmup, total, lr float64) Schedule {
	end, power := k.float("lr_end", 1e-7), k.float("power", 1)
	if !(lr > end) {
		k.fail("lr_end %v must be below learning_rate %v", end, lr)
	}
	return warmed(warmup, func(t float64) float64 {
		if t > total || total == warmup {
			return end / lr
		}
		left := 1 - (t-warmup)/(total-warmup)
		return ((lr-end)*math.Pow(left, power) + end) / lr
	})
}

func inverseSqrt(_ *kwargs, warmup, _, _ float64) Schedule {
	timescale := warmup
	if timescale == 0 {
		timescale = 10000
	}
	shift := timescale - warmup
	return warmed(warmup, func(t float64) float64 { return 1 / math.Sqrt((t+shift)/timescale) })
}

func cosineWithMinLR(k *kwargs, warmup, total, lr float64) Schedule {
	return flooredCosine(k.float("num_cycles", 0.5), k.floor(lr), warmup, total)
}

func cosineWarmupWithMinLR(k *kwargs, warmup, total, lr float64) Schedule {
	cycles, floor := k.float("num_cycles", 0.5), k.floor(lr)
	start := k.float("warmup_lr_rate", -1) // -1: not set
	return func(step int) float64 {
		t := float64(step)
		switch {
		case t < warmup && start < 0:
			return (t + 1) / math.Max(1, warmup)
		case t < warmup:
			return start + (1-start)*t/math.Max(1, warmup-1)
		}
		u := (t - warmup + 1) / math.Max(1, total-warmup)
		f := 0.5 * (1 + math.Cos(math.Pi*cycles*2*u))
		return math.Max(0, f*(1-floor)+floor)
	}
}

// rises and falls are the possible shapes of warmup_stable_decay's warm-up and decay, over x
// from 0 to 1.
var (
	rises = map[string]func(x float64) float64{
		"linear": func(x float64) float64 { return x },
		"cosine": func(x float64) float64 { return 0.5 * (1 - math.Cos(math.Pi*x)) },
		"1-sqrt": func(x float64) float64 { return 1 - math.Sqrt(1-x) },
	}
	falls = map[string]func(x, cycles float64) float64{
		"linear": func(x, _ float64) float64 { return 1 - x },
		"cosine": func(x, cycles float64) float64 { return 0.5 * (1 + math.Cos(math.Pi*cycles*2*x)) },
		"1-sqrt": func(x, _ float64) float64 { return 1 - math.Sqrt(x) },
	}
)

func warmupStableDecay(k *kwargs, warmup, total, _ float64) Schedule {
	if !k.has("num_decay_steps") {
		k.values = StableDecayDefaults(k.values, int(warmup), int(total))
	}
	decay := k.float("num_decay_steps", 0)
	stable := k.float("num_stable_steps", total-warmup-decay)
	floor, cycles := k.float("min_lr_ratio", 0), k.float("num_cycles", 0.5)
	rise, fall := choice(k, "warmup_type", "linear", rises), choice(k, "decay_type", "cosine", falls)
	return func(step int) float64 {
		t := float64(step)
		var f float64
		switch {
		case t < warmup:
			f = rise(t / math.Max(1, warmup))
		case t < warmup+stable:
			return 1
		case t < warmup+stable+decay:
			f = fall((t-warmup-stable)/math.Max(1, decay), cycles)
		default:
			return floor
		}
		return math.Max(0, f*(1-floor)+floor)
	}
}
