package train

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"dataflex.dev/dataflex/algo/curriculum"
)

// sumLargest is the sum of the n largest values.
func sumLargest(x []int, n int) int {
	s := slices.Clone(x)
	slices.Sort(s)
	sum := 0
	for i := len(s) - 1; i >= max(0, len(s)-n); i-- {
		sum += s[i]
	}
	return sum
}

// fits refuses a run that the device's memory cannot hold.
func (t *session) fits() error {
	have := t.device.Attributes().MemoryBytes
	if need := t.memory(); have > 0 && need > have {
		return fmt.Errorf("the run needs %s and the device has %s: weights %s, gradients and optimizer %s, activations %s, logits %s%s; lower per_device_train_batch_size (and raise gradient_accumulation_steps) or cutoff_len",
			bytes(need), bytes(have), bytes(t.Budget.Weights), bytes(t.Budget.Gradients+t.Budget.Optimizer), bytes(t.Budget.Activations), bytes(t.Budget.Head), t.besides())
	}
	return nil
}

// memory is what the run needs of the device, what its method keeps there included.
func (t *session) memory() uint64 { return t.Budget.Total() + t.methodMemory() }

func (t *session) methodMemory() uint64 { return t.curriculum.Memory() }

// besides names the method's part of the memory, where it has one.
func (t *session) besides() string {
	n := t.methodMemory()
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %s itself %s", t.component.Name, bytes(n))
}

func (t *session) logPlan() {
	t.log.Info("plan", "rows", t.Plan.Rows, "rows_per_step", t.Plan.Batch(), "steps", t.Plan.Total, "selections", t.Plan.Choices(),
		"trainable_parameters", t.trainable(), "memory", bytes(t.memory()), "precision", t.precision())
	for _, difference := range t.differences() {
		t.log.Warn(difference)
	}
	t.logLosses()
}

// logLosses says at the end of what is said at the start what the user goes without.
func (t *session) logLosses() {
	for _, l := range t.Config.Losses() {
		t.log.Warn(l)
	}
}

func (t *session) trainable() int {
	n := 0
	for _, p := range t.params {
		n += p.Size()
	}
	return n
}

// WritePlan prints what a run would do: the schedule, what trains, and the memory.
func (t *session) WritePlan(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(key string, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", key, fmt.Sprintf(format, args...))
	}
	c := t.Config
	line("model", "%s (%s), %d parameters, %d trainable", c.Model.NameOrPath, t.model.Config().ModelType, t.model.Parameters(), t.trainable())
	line("training rows", "%d", t.Plan.Rows)
	for _, e := range t.eval {
		line("evaluation rows", "%d %s", len(e.Examples), e.Name)
	}
	line("rows per step", "%d (per_device_train_batch_size %d, gradient_accumulation_steps %d)", t.Plan.Batch(), t.Plan.Micro, t.Plan.Accumulate)
	line("optimizer steps", "%d", t.Plan.Total)
	line("learning rate", "%g, %s, %d warm-up steps", c.Training.LearningRate, c.Training.LRSchedulerType, c.Training.Warmup(t.Plan.Total))
	if t.Plan.Dynamic {
		if t.component != nil {
			line("component", "%s, mode %s", t.component.Name, t.component.Mode)
		}
		t.writeSchedule(line)
	}
	b := t.Budget
	line("memory", "%s: weights %s, adapters %s, gradients %s, optimizer %s, activations %s, logits %s%s",
		bytes(t.memory()), bytes(b.Weights), bytes(b.Adapters), bytes(b.Gradients), bytes(b.Optimizer), bytes(b.Activations), bytes(b.Head), t.besides())
	line("device", "%s, %d threads, %s", t.device.Kind(), t.device.Attributes().Units, bytes(t.device.Attributes().MemoryBytes))
	line("precision", "%s", t.precision())
	for _, difference := range t.differences() {
		line("differs", "%s", difference)
	}
	return tw.Flush()
}

// shownOpenings is how many windows a plan lists before it only counts them.
const shownOpenings = 12

// writeSchedule lists when windows open.
func (t *session) writeSchedule(line func(key, format string, args ...any)) {
	n := 0
	for s := range t.Plan.Total {
		o, update := t.Plan.Opening(s)
		if o == curriculum.Continue {
			continue
		}
		if n++; n > shownOpenings {
			continue
		}
		what, rows := fmt.Sprintf("selection %d", update), t.Plan.Update*t.Plan.Batch()
		switch {
		case o == curriculum.Draw:
			what, rows = "warm-up draw", t.Plan.Warmup*t.Plan.Batch()
		case t.Plan.Mix:
			what = fmt.Sprintf("mixture %d", update)
		case t.Plan.Ordered:
			what = fmt.Sprintf("order %d", update)
		}
		line(fmt.Sprintf("step %d", s), "%s: %d of %d rows", what, rows, t.Plan.Rows)
	}
	if n > shownOpenings {
		line("…", "and %d more windows", n-shownOpenings)
	}
}

// bytes writes a size with a binary prefix.
func bytes(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, prefixes := float64(n)/unit, "KMGT"
	i := 0
	for f >= unit && i < len(prefixes)-1 {
		f, i = f/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, prefixes[i])
}
