package decoder

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/model/tensor"
	"dataflex.dev/dataflex/tools/randommodel"
)

var quantFormats = map[string]quant.Format{
	"nf4":  {Kind: quant.NF4, Block: 64, Double: true},
	"fp4":  {Kind: quant.FP4, Block: 64},
	"int8": {Kind: quant.Int8},
}

// TestBitsandbytesFolders loads folders that transformers 4.57 saved with bitsandbytes 0.50.2,
// with fp4 codes stored as float32: losses and the gradient of the embeddings equal PyTorch's.
// The plain folder, quantised while it is loaded, gives the same bits.
func TestBitsandbytesFolders(t *testing.T) {
	var recorded map[string]struct {
		Loss   float64
		DEmbed []float32
	}
	raw, err := os.ReadFile("testdata/quantised/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &recorded); err != nil {
		t.Fatal(err)
	}
	ids := []int32{5, 9, 11, 2, 40, 33, 7}
	dev := cpu.New(2)
	defer dev.Close()
	run := func(dir string, o Options) (loss float64, dEmbed []float32) {
		m, err := Load(dev, filepath.Join("testdata/quantised", dir), o)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if m.Quantised() != (dir != "plain" || o.Quantise != nil) {
			t.Errorf("%s is quantised: %v", dir, m.Quantised())
		}
		if err := m.Train(func(name string) bool { return name == m.embed.Name }); err != nil {
			t.Fatal(err)
		}
		n := len(ids) - 1
		b := Batch{Tokens: ids, Targets: append(append([]int32{}, ids[1:]...), -1)}
		weight := make([]float32, n+1)
		for i := range n {
			weight[i] = 1 / float32(n)
		}
		losses, err := m.Backward(b, Objective{Weight: weight})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range losses {
			loss += float64(l) / float64(n)
		}
		grad := m.embed.Grad.Host()
		for _, id := range ids {
			dEmbed = append(dEmbed, grad[int(id)*m.config.Hidden:][:m.config.Hidden]...)
		}
		return loss, dEmbed
	}
	for name, want := range recorded {
		loss, dEmbed := run(name, Options{})
		if math.Abs(loss-want.Loss) > 2e-6*want.Loss {
			t.Errorf("%s: loss %v, PyTorch's is %v", name, loss, want.Loss)
		}
		if d := distance(dEmbed, want.DEmbed); !(d < 5e-6) {
			t.Errorf("%s: the gradient is off by %.1e of its length", name, d)
		}
		f, coded := quantFormats[name]
		if !coded {
			continue
		}
		again, dAgain := run("plain", Options{Quantise: &f})
		if again != loss {
			t.Errorf("%s: loss %v of the plain folder, %v of the quantised one", name, again, loss)
		}
		optest.Same(t, name, dAgain, dEmbed)
	}
}

// drawn is a source of random numbers.
type drawnSource struct{ r *rand.Rand }

func (d drawnSource) DType() string            { return "F32" }
func (d drawnSource) BF16([]driver.BF16) error { panic("not asked for") }
func (d drawnSource) Float32(x []float32) error {
	for i := range x {
		x[i] = (d.r.Float32() - 0.5) * 0.2
	}
	return nil
}

// coded returns a random model with quantised linear layers.
func codedOn(t *testing.T, dev driver.Device, c Config, half bool, f quant.Format) *Model {
	t.Helper()
	m, err := build(dev, "random", c, forms{half: half, codes: func(string) (quant.Format, bool) { return f, true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	r := rand.New(rand.NewPCG(4, 5))
	var buffer tensor.Buffer
	for _, p := range m.base() {
		if err := p.Load(dev, drawnSource{r}, &buffer); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// TestQuantisedOnDevices: adapters on quantised weights have the host's losses and gradients on
// the interpreter, in float32 and in bf16 within their rounding; and the planned memory equals
// the memory used.
func TestQuantisedOnDevices(t *testing.T) {
	for name, f := range quantFormats {
		for _, half := range []bool{false, true} {
			for _, dora := range []bool{false, true} {
				if dora && (half || name != "nf4") {
					continue
				}
				t.Run(fmt.Sprintf("%s, bf16 %v, dora %v", name, half, dora), func(t *testing.T) {
					c := tensorCored()
					host, dev := codedOn(t, closing(t, cpu.New(2)), c, false, f), codedOn(t, optest.Device(t, 80), c, half, f)
					for _, m := range []*Model{host, dev} {
						adapt(t, m, LoRA{Rank: 3, Alpha: 3, DoRA: dora, Targets: []string{"all"}})
						if !m.Quantised() || dev.BF16() != half {
							t.Fatal("the model is not what the test is about")
						}
					}
					b := ragged(host)
					o := Objective{Weight: sampleWeights(b)}
					want, got := passOn(t, host, b, o), passOn(t, dev, b, o)
					for _, m := range []*Model{host, dev} {
						exactly(t, m, len(b.Tokens))
					}
					lossBound, gradientBound := 1e-5, 1e-4
					if half {
						lossBound, gradientBound = 2e-3, 5e-2
					}
					if e := distance(got.losses, want.losses); e > lossBound {
						t.Errorf("losses are off by %.1e of their length", e)
					}
					for name, g := range want.gradients {
						if e := distance(got.gradients[name], g); e > gradientBound {
							t.Errorf("gradient of %s is off by %.1e of its length", name, e)
						}
					}
				})
			}
		}
	}
}

// TestQuantisedGradient: the gradients of adapters on quantised weights have the bits of those
// on the decoded weights in float32, in every family's shape.
func TestQuantisedGradient(t *testing.T) {
	for name, f := range quantFormats {
		sameAsDecoded(t, name, tensorCored(), f)
	}
	for name, c := range shapes() {
		sameAsDecoded(t, name, c, quantFormats["nf4"])
	}
}

func sameAsDecoded(t *testing.T, name string, c Config, f quant.Format) {
	t.Helper()
	dev := closing(t, cpu.New(2))
	coded := codedOn(t, dev, c, false, f)
	plain, err := build(dev, "random", c, forms{})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	from := coded.base()
	for i, p := range plain.base() {
		w, err := from[i].Read(dev)
		if err == nil {
			err = p.Upload(dev, w)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b := ragged(plain)
	o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 3}
	for _, l := range []LoRA{{Rank: 3, Alpha: 3, Targets: []string{"all"}}, {Rank: 3, Alpha: 3, Dropout: 0.2, DoRA: true, Targets: []string{"all"}}} {
		adapt(t, coded, l)
		adapt(t, plain, l)
		want, got := passOn(t, plain, b, o), passOn(t, coded, b, o)
		optest.Same(t, name+" losses", got.losses, want.losses)
		for p, g := range want.gradients {
			optest.Same(t, name+" "+p, got.gradients[p], g)
		}
	}
}

// llama8B is Llama-3-8B's shape.
func llama8B() Config {
	return Config{
		ModelType: "llama", Vocab: 128256, Hidden: 4096, Intermediate: 14336, Layers: 32, Heads: 32, KVHeads: 8, HeadDim: 128,
		Eps: 1e-5, AttentionScale: attentionScale(128), Window: make([]int, 32), RopeTheta: 5e5, MaxPositions: 8192,
	}
}

// TestQuantisedMemory: the plan of Llama-3-8B in NF4 has less than 7 GB of weights: 6.98e9
// elements in 0.516 bytes, and embeddings and head in 2 bytes. On a CPU without a unit for
// bf16 the head is float32.
func TestQuantisedMemory(t *testing.T) {
	f, host := quantFormats["nf4"], cpu.New(1)
	onHost := 6.0
	if host.Attributes().BF16 {
		onHost = 4
	}
	for _, c := range []struct {
		dev  driver.Device
		want float64
	}{{sim.New(sim.Options{}), 6.9793e9*0.51596 + 2*1.0507e9}, {host, 6.9793e9*0.51596 + onHost*0.52534e9}} {
		m, err := build(plan.New(closing(t, c.dev)), "8B", llama8B(), forms{half: true, bf16: true, codes: func(string) (quant.Format, bool) { return f, true }})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if err := m.AddLoRA(LoRA{Rank: 16, Alpha: 16, Targets: []string{"all"}}, rand.New(rand.NewPCG(1, 2)).Float64); err != nil {
			t.Fatal(err)
		}
		b := m.Memory(2048, 2048)
		if math.Abs(float64(b.Weights)-c.want) > 0.01*c.want || b.Weights >= 7e9 {
			t.Errorf("%v: %.2f GB of weights, want %.2f", c.dev.Kind(), float64(b.Weights)/1e9, c.want/1e9)
		}
		if most := 1 << 30; b.Head > uint64(most) {
			t.Errorf("%v: %d bytes of scratch: bands of a matrix are 32 MiB", c.dev.Kind(), b.Head)
		}
		t.Logf("%v: weights %.2f GB, activations %.2f, scratch %.2f", c.dev.Kind(), float64(b.Weights)/1e9, float64(b.Activations)/1e9, float64(b.Head)/1e9)
	}
}

// TestQuantisedEmbeddings: embeddings that stay in the folder's bf16 give the same bits as in
// float32, frozen and trained.
func TestQuantisedEmbeddings(t *testing.T) {
	dev := closing(t, cpu.New(2))
	c := tensorCored()
	c.Tied = false
	f := quantFormats["nf4"]
	var got [2]passed
	for i := range got {
		m, err := build(dev, "random", c, forms{bf16: i == 1, codes: func(string) (quant.Format, bool) { return f, true }})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if m.embed.Narrows() != (i == 1) || m.BF16() {
			t.Fatal("the embeddings are not what the test is about")
		}
		r := rand.New(rand.NewPCG(4, 5))
		var buffer tensor.Buffer
		for _, p := range m.base() {
			if err := p.Load(dev, roundedSource{drawnSource{r}}, &buffer); err != nil {
				t.Fatal(err)
			}
		}
		for _, l := range []LoRA{{Rank: 3, Alpha: 3, Targets: []string{"all"}}, {Rank: 3, Alpha: 3, Targets: []string{"all"}, ModulesToSave: []string{"embed_tokens"}}} {
			if err := m.AddLoRA(l, rand.New(rand.NewPCG(1, 2)).Float64); err != nil {
				t.Fatal(err)
			}
			b := ragged(m)
			got[i] = passOn(t, m, b, Objective{Weight: sampleWeights(b)})
		}
	}
	optest.Same(t, "losses", got[1].losses, got[0].losses)
	for name, g := range got[0].gradients {
		optest.Same(t, name, got[1].gradients[name], g)
	}
}

// roundedSource yields numbers that are exact in bf16.
type roundedSource struct{ drawnSource }

func (s roundedSource) Float32(x []float32) error {
	for i := range x {
		x[i] = float32(s.r.IntN(255)-127) / 1024
	}
	return nil
}

// TestQuantisedLoad: quantising a folder's weights allocates the codes, the weights that are
// not quantised, and once the largest matrix in float32; no other copy.
func TestQuantisedLoad(t *testing.T) {
	dir := t.TempDir()
	shape := randommodel.Shape{Vocab: 64, Hidden: 256, Intermediate: 1024, Layers: 8, Heads: 4, KVHeads: 4, Head: 64, MaxPositions: 64, RopeTheta: 1e4, EOS: 2}
	if err := randommodel.Write(dir, shape, 1); err != nil {
		t.Fatal(err)
	}
	dev := closing(t, cpu.New(1))
	f := quantFormats["nf4"]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := Load(dev, dir, Options{Quantise: &f})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	runtime.ReadMemStats(&after)
	weights := m.Memory(0, 0).Weights
	if used := dev.Used(); used != weights {
		t.Errorf("%d bytes planned, %d used", weights, used)
	}
	const largest = 4 * 256 * 1024
	// Codes and scales of the largest matrix on the host, and the rest: headers, names.
	if took := after.TotalAlloc - before.TotalAlloc; took > weights+largest+largest/4+1<<20 {
		t.Errorf("%d bytes were allocated for %d of weights", took, weights)
	}
	if plain := uint64(4 * 8 * (4*256*256 + 3*256*1024)); weights > plain/7 {
		t.Errorf("%d bytes of weights, float32 has %d", weights, plain)
	}
}

// TestQuantisedRefusals: the errors for what quantised weights do not support.
func TestQuantisedRefusals(t *testing.T) {
	m := codedOn(t, closing(t, cpu.New(1)), tensorCored(), false, quantFormats["nf4"])
	refused := func(what string, err error, words string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("full", m.TrainAll(), "its weights are quantised (nf4)")
	refused("pissa", m.AddLoRA(LoRA{Rank: 2, Alpha: 2, PiSSA: "pissa", Targets: []string{"all"}}, rand.New(rand.NewPCG(1, 2)).Float64), "quantised ones stay as they are")
	adapt(t, m, LoRA{Rank: 2, Alpha: 2, Targets: []string{"all"}})
	refused("merge", m.Merge(), "cannot merge adapters to a quantized model")
	refused("vocabulary", m.ResizeVocab(1000, rand.New(rand.NewPCG(1, 2)).NormFloat64), "cannot resize embedding layers of a quantized model")
	refused("saving", m.SaveFull(t.TempDir()), "quantised weights are not written")
}
