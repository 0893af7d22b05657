package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"unsafe"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/algo/tuning"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/model/optim"
)

// Names gives what a run is made of its name by content: the run for its checkpoints, a
// choice for what is kept of it.
type Names struct {
	Config     *config.Config
	Lent       *algo.Run                       // the model and the optimizer included
	Rows       []data.Example                  // that are trained on; a shard of them may be lent
	Key        string                          // names them as tokenised
	Remembered func(hash func() string) string // what hash names Rows, or what it did before
	Curriculum curriculum.Curriculum
	Component  *config.Component // nil in a run without one

	run   *Identity // once asked for
	model string    // of what computes, but for what trains; once asked for
}

// machine is the instruction set on which a run's last bits depend.
func machine(c *config.Config) string {
	set := runtime.GOARCH + " " + simd.Level()
	if unit := simd.Unit(); unit != "" && (c.Training.BF16 || c.Tuning.PureBF16) {
		set += " " + unit
	}
	return set
}

// Run describes the run. It reads base weights and rows, once.
func (n *Names) Run() (*Identity, error) {
	if n.run != nil {
		return n.run, nil
	}
	c := n.Config
	base, err := n.Lent.Model.Base()
	if err != nil {
		return nil, err
	}
	id := &Identity{Machine: machine(c), Run: []config.Setting{
		{Key: "model_name_or_path", Value: base}, {Key: "adapter_name_or_path", Value: n.Lent.Model.Merged()}, {Key: "dataset", Value: n.Remembered(func() string { return hashRows(n.Rows) })},
	}}
	if n.Component != nil {
		method, err := n.Curriculum.Identity()
		if err != nil {
			return nil, err
		}
		id.Run = append(id.Run, config.Setting{Key: "eval_dataset", Value: hashRows(n.Lent.Eval)}, config.Setting{Key: "component_name", Value: method})
	}
	quantised := codeKeys[:1]
	if c.Model.QuantizationBit == 4 {
		quantised = codeKeys
	}
	keys := slices.Concat(runKeys, quantised, shapeKeys[c.Tuning.FinetuningType], shapeKeys[c.Dynamic.TrainType])
	skip := slices.Concat(placeKeys, shapeKeys[config.LoRA], shapeKeys[config.Freeze], shapeKeys[config.DynamicMix])
	for _, s := range c.Settings() {
		switch {
		case s.Key == ropeKey:
			scaling, err := ropeScaling(c)
			if err != nil {
				return nil, err
			}
			id.Run = append(id.Run, scaling...)
		case slices.Contains(keys, s.Key):
			id.Run = append(id.Run, s)
		case slices.Contains(namedKeys, s.Key):
			id.Settings = append(id.Settings, s)
		case slices.Contains(skip, s.Key) || config.About(s.Key) == "Model" || config.About(s.Key) == "Data" || config.About(s.Key) == "Export" || config.About(s.Key) == "Generating":
		default:
			id.Settings = append(id.Settings, s)
		}
	}
	n.run = id
	return id, nil
}

// ropeScaling is what rope_scaling does: nothing where the rows are not longer than the model's
// positions, and otherwise by a factor that cutoff_len decides.
func ropeScaling(c *config.Config) ([]config.Setting, error) {
	o, err := tuning.RopeScaling(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	switch {
	case c.Model.RopeScaling == "":
		return []config.Setting{{Key: ropeKey}, {Key: ropeFactorKey, Value: "1"}}, nil
	case o.Rope == nil:
		return []config.Setting{{Key: ropeFactorKey, Value: "1"}}, nil
	}
	return []config.Setting{{Key: ropeKey, Value: o.Rope.Type}, {Key: ropeFactorKey, Value: fmt.Sprint(o.Rope.Factor)}}, nil
}

// Choice is the content a choice at this step can depend on: what computes, the
// rows, the trained weights and their moments, the component and the seed.
func (n *Names) Choice(r algo.Request) (string, error) {
	var err error
	if n.model == "" {
		if n.model, err = n.Lent.Model.Identity(); err != nil {
			return "", err
		}
	}
	method, err := n.Curriculum.Identity()
	if err != nil {
		return "", err
	}
	state, err := n.Curriculum.State()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\nrows %s\n%s\nseed %d step %d update %d of %d n %d optimizer steps %d\n",
		n.model, n.Key, method, n.Lent.Seed, r.Step, r.Update, n.Lent.UpdatesPerEpoch, r.N, n.Lent.Optimizer.Steps())
	if r.Pool != nil {
		fmt.Fprintf(h, "pool %d\n", r.Pool)
	}
	fmt.Fprintf(h, "state %x of %d updates\n", sha256.Sum256(state), n.Lent.Updates)
	add := func(values ...driver.F32) error {
		for _, s := range values {
			x, err := driver.Read(n.Lent.Device, s)
			if err != nil {
				return fmt.Errorf("identity of the run: %w", err)
			}
			hashFloats(h, x)
		}
		return nil
	}
	for _, p := range n.Lent.Model.Trainable() {
		var err error
		if fetched := p.Widened(n.Lent.Device, func(w driver.F32) { err = add(w) }); fetched != nil {
			err = fmt.Errorf("identity of the run: %w", fetched)
		}
		if o, ok := n.Lent.Optimizer.(optim.Adaptive); ok && err == nil { // no method asks for what others keep
			err = o.Moments(p, func(m, v driver.F32) error { return add(m, v) })
		}
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
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

// hashFloats hashes the bytes as they stand: a key need not be portable.
func hashFloats(h hash.Hash, x []float32) {
	if len(x) > 0 {
		h.Write(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
	}
}
