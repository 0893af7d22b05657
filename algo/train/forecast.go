package train

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/model/decoder"
)

// forecast describes what a run would do and what it needs, before its first step.
type forecast struct {
	config      *config.Config
	plan        Plan
	device      driver.Device
	machine     driver.Device // device itself, or the device that device plans for
	model       *decoder.Model
	rows        []data.Example
	sets        []EvalSet
	component   *config.Component // nil in a run without one
	budget      decoder.Budget
	method      uint64           // bytes on the device that the method allocates
	kept        uint64           // bytes of the activations if all of them were kept
	most        int              // passes.most
	lanes       uint64           // and the sums of several ranks' gradients
	sharded     *sharedGradients // nil: gradients are whole
	processes   int              // that share the work
	differences []string         // from upstream's run, in mode upstream

	cost  algo.Cost // of a selection
	costs bool      // cost is known
}

// largestPass is the most tokens, and labelled ones, that a pass can hold where micro-batches
// share those of up to most tokens.
func largestPass(d *Data, plan Plan, most int) (tokens, labelled int) {
	longest, labels := make([]int, len(d.Train)), make([]int, len(d.Train))
	for i, ex := range d.Train {
		longest[i], labels[i] = len(ex.InputIDs), int(d.Labels[i])
	}
	tokens, labelled = sumLargest(longest, plan.Micro), sumLargest(labels, plan.Micro)
	if lane := plan.Micro * plan.Accumulate; lane > plan.Micro && most > 0 {
		tokens = max(tokens, min(most, sumLargest(longest, lane)))
		labelled = max(labelled, min(most, sumLargest(labels, lane)))
	}
	return tokens, labelled
}

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

// planMemory counts it for the largest pass. Where gradient_checkpointing asks for it, or the
// run does not fit otherwise, with micro-batches in passes of their own, layers are computed
// again in the backward pass, to the same bits: upstream does so unless
// disable_gradient_checkpointing is set.
func (f *forecast) planMemory(optimizer uint64, d *Data) {
	asked := f.config.Training.GradientCheckpointing
	count := func(checkpointed bool) {
		f.model.CheckpointLayers(checkpointed)
		f.budget = f.model.Memory(largestPass(d, f.plan, f.most))
		f.budget.Optimizer = optimizer
		if f.sharded != nil {
			f.budget.Gradients = f.sharded.bytes
		}
	}
	alone, _ := largestPass(d, f.plan, 0)
	for _, f.most = range f.sharing(alone) {
		if count(asked); f.holds() {
			break
		}
	}
	count(false)
	f.kept = f.budget.Activations
	if asked || !f.config.Model.DisableGradientCheckpointing && !f.holds() {
		count(true)
	}
}

// sharing is how many tokens may share a pass, the first choice first: micro-batches alone
// need the least memory, and have up to that many tokens.
func (f *forecast) sharing(alone int) []int {
	switch most := f.config.Training.MergeTokens; {
	case f.sharded != nil && f.plan.Accumulate > 1:
		return []int{math.MaxInt} // several passes would add up whole gradients
	case f.plan.Accumulate < 2 || f.model.Apart() != "":
		return []int{0}
	case most != nil:
		return []int{*most}
	case f.device.Kind() == driver.CPU:
		return []int{0}
	}
	var choices []int
	for most := sharedTokens; most >= 2*alone; most /= 2 {
		choices = append(choices, most)
	}
	return append(choices, 0)
}

// passes describes which micro-batches share a pass.
func (f *forecast) passes() string {
	switch why := f.model.Apart(); {
	case f.plan.Accumulate < 2:
		return "of one micro-batch"
	case why != "":
		return "of one micro-batch: " + why
	case f.most == math.MaxInt:
		return "of all micro-batches of a step, of which the gradients are sharded, to the same bits"
	case f.most == 0 && f.device.Kind() != driver.CPU && f.config.Training.MergeTokens == nil:
		return "of one micro-batch: several (merge_tokens) are long already, or do not fit"
	case f.most == 0:
		return "of one micro-batch (merge_tokens puts several into one, to the same bits)"
	}
	return fmt.Sprintf("of a step's micro-batches, up to %d tokens together, to the same bits (merge_tokens)", f.most)
}

// holds reports whether the device's memory is enough.
func (f *forecast) holds() bool {
	have := f.device.Attributes().MemoryBytes
	return have == 0 || f.memory() <= have
}

// checkpoints describes which activations are kept.
func (f *forecast) checkpoints() string {
	switch {
	case !f.model.CheckpointsLayers():
		return "kept"
	case f.config.Training.GradientCheckpointing:
		return fmt.Sprintf("of one layer at a time, each computed again in the backward pass (gradient_checkpointing): kept, they take %s", bytes(f.kept))
	}
	return fmt.Sprintf("of one layer at a time, each computed again in the backward pass: kept, they take %s, which do not fit", bytes(f.kept))
}

// fits refuses a run that the device's memory cannot hold.
func (f *forecast) fits() error {
	if need, have := f.memory(), f.device.Attributes().MemoryBytes; !f.holds() {
		return fmt.Errorf("the run needs %s and the device has %s: weights %s, gradients and optimizer %s, activations %s, logits %s%s; %slower per_device_train_batch_size (and raise gradient_accumulation_steps) or cutoff_len",
			bytes(need), bytes(have), bytes(f.budget.Weights), bytes(f.budget.Gradients+f.budget.Optimizer), bytes(f.budget.Activations), bytes(f.budget.Head), f.besides(), f.wayOut())
	}
	return nil
}

// wayOut lists the settings that help besides smaller batches.
func (f *forecast) wayOut() (out string) {
	switch {
	case f.most == math.MaxInt:
		out = "set merge_tokens: 0, which keeps whole gradients and divides a step into passes, "
	case f.most > 0:
		out = fmt.Sprintf("lower merge_tokens from %d, ", f.most)
	}
	if !f.model.CheckpointsLayers() {
		out += "leave out disable_gradient_checkpointing, "
	}
	return out
}

// memory is the memory that the run needs on the device, including that of its method.
func (f *forecast) memory() uint64 { return f.budget.Total() + f.method + f.lanes }

// besides lists what else needs memory: the method, sums of gradients.
func (f *forecast) besides() (out string) {
	if f.lanes > 0 {
		out = ", sums over ranks " + bytes(f.lanes)
	}
	if f.method > 0 {
		out += fmt.Sprintf(", %s itself %s", f.component.Name, bytes(f.method))
	}
	return out
}

// say logs a summary.
func (f *forecast) say(log *slog.Logger) {
	shared := []any{}
	if f.plan.Ranks > 1 {
		shared = append(shared, "ranks", f.plan.Ranks, "processes", f.processes, "stage", f.config.Training.Sharding.Stage)
	}
	log.Info("plan", append(shared, "rows", f.plan.Rows, "rows_per_step", f.plan.Batch(), "steps", f.plan.Total, "selections", f.plan.Choices(),
		"trainable_parameters", f.trainable(), "memory", bytes(f.memory()), "activations", f.checkpoints(), "passes", f.passes(), "instruction_set", simd.Level(), "precision", f.precision())...)
	for _, difference := range f.differences {
		log.Warn(difference)
	}
	f.sayLosses(log)
}

// sayLosses logs, after the summary, which features the run does not have.
func (f *forecast) sayLosses(log *slog.Logger) {
	for _, l := range f.config.Unmet() {
		log.Warn(l)
	}
}

// trainable is the number of parameters that train.
func (f *forecast) trainable() int {
	n := 0
	for _, p := range f.model.Trainable() {
		n += p.Size()
	}
	return n
}

// write prints it: the schedule, what trains, the memory and the time.
func (f *forecast) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(key string, format string, args ...any) {
		fmt.Fprintf(tw, "%s\t%s\n", key, fmt.Sprintf(format, args...))
	}
	c := f.config
	line("model", "%s (%s), %d parameters, %d trainable", c.Model.NameOrPath, f.model.Config().ModelType, f.model.Parameters(), f.trainable())
	line("training rows", "%d", f.plan.Rows)
	for _, e := range f.sets {
		line("evaluation rows", "%d %s", len(e.Examples), e.Name)
	}
	ranks := ""
	if f.plan.Ranks > 1 {
		ranks = fmt.Sprintf(", ranks %d", f.plan.Ranks)
	}
	if f.processes > 1 {
		ranks += fmt.Sprintf(" on %d processes, of which each needs the memory below%s", f.processes, f.shared())
	}
	line("rows per step", "%d (per_device_train_batch_size %d, gradient_accumulation_steps %d%s)", f.plan.Batch(), f.plan.Micro, f.plan.Accumulate, ranks)
	line("optimizer steps", "%d", f.plan.Total)
	line("learning rate", "%g, %s, %d warm-up steps", c.Training.LearningRate, c.Training.LRSchedulerType, c.Training.Warmup(f.plan.Total))
	if f.plan.Dynamic {
		if f.component != nil {
			line("component", "%s, mode %s", f.component.Name, f.component.Mode)
		}
		f.writeSchedule(line)
	}
	b := f.budget
	line("memory", "%s: weights %s, adapters %s, gradients %s, optimizer %s, activations %s, logits %s%s",
		bytes(f.memory()), bytes(b.Weights), bytes(b.Adapters), bytes(b.Gradients), bytes(b.Optimizer), bytes(b.Activations), bytes(b.Head), f.besides())
	line("activations", "%s", f.checkpoints())
	line("passes", "%s", f.passes())
	line("device", "%s, %d threads, %s, %s", f.device.Kind(), f.device.Attributes().Units, simd.Level(), bytes(f.device.Attributes().MemoryBytes))
	line("precision", "%s", f.precision())
	f.writeTime(line)
	for _, difference := range f.differences {
		line("differs", "%s", difference)
	}
	return tw.Flush()
}

// shared describes what is sharded over the processes.
func (f *forecast) shared() string {
	switch s := f.config.Training.Sharding; {
	case f.processes == 1 || s.Stage == 0:
		return ""
	case f.model.SharesWeights():
		return f.sharedWeights()
	case f.sharded != nil:
		return fmt.Sprintf("; they shard the optimizer's state and the gradients (%s, stage 2)", s.Key)
	default:
		return fmt.Sprintf("; they shard the optimizer's state (%s, stage 1)", s.Key)
	}
}

// sharedWeights is shared at stage 3.
func (f *forecast) sharedWeights() string {
	what, whole := "the optimizer's state, the gradients and the weights", []string{}
	if f.sharded == nil {
		what = "the optimizer's state and the weights"
	}
	_, window := f.model.ShardedBytes()
	text := fmt.Sprintf("; they shard %s (%s, stage 3): of the weights each keeps its part of every layer, and %s for the layer in which it computes and the one before", what, f.config.Training.Sharding.Key, bytes(window))
	for _, p := range f.model.WholeWeights() {
		whole = append(whole, p.Name)
	}
	if len(whole) > 0 {
		text += "; it has all of " + strings.Join(whole, ", ") + ", which several sections use or the run has added"
	}
	return text
}

// precision describes what is computed in which precision, and which weights are quantised.
func (f *forecast) precision() string {
	if q, coded := f.model.Coding(); coded {
		return fmt.Sprintf("%s; the layers' linears in %v codes, decoded during the products", f.computes(), q.Kind)
	}
	return f.computes()
}

func (f *forecast) computes() string {
	switch {
	case f.model.BF16():
		return fmt.Sprintf("bf16 on %s: matrices and the operands of products; float32: sums, activations, norms, adapters, trained weights, the optimizer", f.unit())
	case (f.config.Training.BF16 || f.config.Tuning.PureBF16) && f.device.Attributes().BF16:
		return fmt.Sprintf("float32: no matrix of the model has rows of a multiple of 8, as %s take them", f.unit())
	case f.config.Training.BF16 || f.config.Tuning.PureBF16:
		return fmt.Sprintf("float32: %s has no units for bf16", f.device.Kind())
	case f.config.Training.FP16:
		return "float32: nothing is computed in fp16; bf16: true uses the units of a device that has them"
	}
	return "float32"
}

// unit is what multiplies bf16.
func (f *forecast) unit() string {
	if f.device.Kind() != driver.CPU {
		return "tensor cores"
	}
	switch simd.Unit() {
	case "amx":
		return "AMX's tiles"
	case "avx512_bf16":
		return "AVX512-BF16's units"
	}
	return "units for float32"
}

// shownOpenings is how many windows a plan lists before it only counts them.
const shownOpenings = 12

// writeSchedule lists when windows open.
func (f *forecast) writeSchedule(line func(key, format string, args ...any)) {
	n := 0
	for s := range f.plan.Total {
		o, update := f.plan.Opening(s)
		if o == curriculum.Continue {
			continue
		}
		if n++; n > shownOpenings {
			continue
		}
		what, rows := fmt.Sprintf("selection %d", update), f.plan.Update*f.plan.Batch()
		switch {
		case o == curriculum.Draw:
			what, rows = "warm-up draw", f.plan.Warmup*f.plan.Batch()
		case f.plan.Mix:
			what = fmt.Sprintf("mixture %d", update)
		case f.plan.Ordered:
			what = fmt.Sprintf("order %d", update)
		}
		line(fmt.Sprintf("step %d", s), "%s: %d of %d rows", what, rows, f.plan.Rows)
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
