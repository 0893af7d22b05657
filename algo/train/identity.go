package train

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/model/optim"
)

// identity says which run it is. Of one identity are the runs that a checkpoint of one
// may be continued by the other.
type identity struct {
	Run      []config.Setting `json:"run"`      // base weights, rows and their order, method, seed, shape of what trains
	Settings []config.Setting `json:"settings"` // hyperparameters that may change when a run goes on, and are named then
	Machine  string           `json:"machine"`  // instruction set: another one gives other last bits
}

// runKeys are the keys whose values make a run another one, besides what is hashed.
var runKeys = []string{
	"finetuning_type", "train_from_scratch", "rope_scaling", "optim", "use_muon", "per_device_train_batch_size", "gradient_accumulation_steps",
	"seed", "data_seed", "disable_shuffling", "group_by_length", "dataloader_drop_last", "streaming", "train_type",
}

// shapeKeys are those among them that matter to one finetuning_type or train_type.
var shapeKeys = map[string][]string{
	config.LoRA:        {"lora_rank", "lora_alpha", "use_rslora", "use_dora", "pissa_init", "lora_target", "additional_target"},
	config.Freeze:      {"freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules"},
	config.DynamicLego: {"init_mixture_proportions", "mixer_eval_dataset"},
	config.DynamicMix:  {"static_mix", "mixture_sample_rule", "init_mixture_proportions", "mixer_eval_dataset", "freeze_gate"},
}

// placeKeys say where things lie or how they are shown: a run that goes on may change
// them without a word. What data keys decide is in the rows' hash.
var placeKeys = []string{
	"output_dir", "overwrite_output_dir", "do_train", "do_predict", "predict_with_generate", "run_name", "report_to", "logging_dir", "use_cpu", "plot_loss", "components_cfg_file", "component_name",
	"include_num_input_tokens_seen", "include_effective_tokens_per_second", "ignore_data_skip",
}

// namedKeys are settings among the keys of model and data.
var namedKeys = []string{"eval_dataset", "eval_on_each_dataset", "moe_aux_loss_coef"}

// identify describes the run. It reads base weights and rows, once.
func (t *session) identify() (*identity, error) {
	if t.ids.run != nil {
		return t.ids.run, nil
	}
	c := t.Config
	base, err := t.model.Base()
	if err != nil {
		return nil, err
	}
	id := &identity{Machine: runtime.GOARCH + " " + simd.Level(), Run: []config.Setting{
		{Key: "model_name_or_path", Value: base}, {Key: "adapter_name_or_path", Value: t.model.Merged()}, {Key: "dataset", Value: hashRows(t.data.Train)},
	}}
	if t.component != nil {
		method, err := t.curriculum.Identity()
		if err != nil {
			return nil, err
		}
		id.Run = append(id.Run, config.Setting{Key: "eval_dataset", Value: hashRows(t.lent.Eval)}, config.Setting{Key: "component_name", Value: method})
	}
	keys := slices.Concat(runKeys, shapeKeys[c.Tuning.FinetuningType], shapeKeys[c.Dynamic.TrainType])
	skip := slices.Concat(placeKeys, shapeKeys[config.LoRA], shapeKeys[config.Freeze], shapeKeys[config.DynamicMix])
	for _, s := range c.Settings() {
		switch {
		case slices.Contains(keys, s.Key):
			id.Run = append(id.Run, s)
		case slices.Contains(namedKeys, s.Key):
			id.Settings = append(id.Settings, s)
		case slices.Contains(skip, s.Key) || config.About(s.Key) == "Model" || config.About(s.Key) == "Data" || config.About(s.Key) == "Export" || config.About(s.Key) == "Generating":
		default:
			id.Settings = append(id.Settings, s)
		}
	}
	t.ids.run = id
	return id, nil
}

// differing lists the keys whose values are not the same in a and b, as "key was A, is
// now B". Keys that only one of them has are of other versions and not compared.
func differing(was, is []config.Setting) (out []string) {
	old := map[string]string{}
	for _, s := range was {
		old[s.Key] = s.Value
	}
	for _, s := range is {
		if before, ok := old[s.Key]; ok && before != s.Value {
			out = append(out, fmt.Sprintf("%s was %s, is now %s", s.Key, short(before), short(s.Value)))
		}
	}
	return out
}

// short cuts hashes and long values.
func short(s string) string {
	switch {
	case s == "":
		return "empty"
	case len(s) == 2*sha256.Size && !strings.Contains(s, " "):
		return "another content (" + s[:8] + "…)"
	case len(s) > 120:
		return s[:100] + "…"
	}
	return s
}

// rowsAtOnce is how many rows one goroutine hashes.
const rowsAtOnce = 4096

// hashRows names rows by all that is trained on, in their order.
func hashRows(rows []data.Example) string {
	sums := make([][]byte, (len(rows)+rowsAtOnce-1)/rowsAtOnce)
	workers := min(runtime.GOMAXPROCS(0), len(sums))
	var g task.Group
	for w := range workers {
		g.Go(func() {
			for i := w; i < len(sums); i += workers {
				h := sha256.New()
				for _, r := range rows[i*rowsAtOnce : min((i+1)*rowsAtOnce, len(rows))] {
					hashRow(h, r)
				}
				sums[i] = h.Sum(nil)
			}
		})
	}
	g.Wait() // the rows are mapped memory: a file made shorter meanwhile comes up here
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(rows))
	for _, s := range sums {
		h.Write(s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func hashRow(h hash.Hash, r data.Example) {
	var head [8 * 7]byte
	for i, n := range []int{r.Row, len(r.Dataset), len(r.InputIDs), len(r.Labels), len(r.PositionIDs), len(r.Segments), int(math.Float64bits(r.Weight()))} {
		binary.LittleEndian.PutUint64(head[8*i:], uint64(n))
	}
	h.Write(head[:])
	h.Write([]byte(r.Dataset))
	h.Write([]byte(r.Subtask))
	for _, x := range [][]int32{r.InputIDs, r.Labels, r.PositionIDs, r.Segments} {
		if len(x) > 0 {
			h.Write(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
		}
	}
}

// ids are the names, by content, of what does not change during a run, once asked for.
type ids struct {
	run   *identity
	model string // of what computes, but for what trains
}

// selectionKey is the content a choice at this step can depend on: what computes, the
// rows, the trained weights and their moments, the component and the seed.
func (t *session) selectionKey(r algo.Request) (string, error) {
	var err error
	if t.ids.model == "" {
		if t.ids.model, err = t.model.Identity(); err != nil {
			return "", err
		}
	}
	method, err := t.curriculum.Identity()
	if err != nil {
		return "", err
	}
	state, err := t.curriculum.State()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\nrows %s\n%s\nseed %d step %d update %d of %d n %d optimizer steps %d\n",
		t.ids.model, t.data.Key, method, t.seed, r.Step, r.Update, t.lent.UpdatesPerEpoch, r.N, t.optimizer.Steps())
	if r.Pool != nil {
		fmt.Fprintf(h, "pool %d\n", r.Pool)
	}
	fmt.Fprintf(h, "state %x of %d updates\n", sha256.Sum256(state), t.lent.Updates)
	for _, p := range t.params {
		inputs := []driver.F32{p.Data}
		if o, ok := t.optimizer.(optim.Adaptive); ok { // no method asks for what others keep
			m, v := o.Moments(p)
			inputs = append(inputs, m, v)
		}
		for _, s := range inputs {
			x, err := driver.Read(t.device, s)
			if err != nil {
				return "", fmt.Errorf("identity of the run: %w", err)
			}
			hashFloats(h, x)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashFloats hashes the bytes as they stand: a key need not be portable.
func hashFloats(h hash.Hash, x []float32) {
	if len(x) > 0 {
		h.Write(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
	}
}
