package decoder

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/model/checkpoint"
)

const groupedFolders = "testdata/grouped"

// recordedFolders are the folders that tools/golden/quantised_folders.py wrote, with what it
// recorded for them.
func recordedFolders(t *testing.T) (ids []int32, folders map[string]recordedFolder) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(groupedFolders, "recorded.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		IDs     []int32
		Folders map[string]recordedFolder
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all.IDs, all.Folders
}

// recordedFolder has the loss of the ids, and the hash of each quantised matrix's numbers.
type recordedFolder struct {
	Loss   float64
	SHA256 map[string]string
}

// decodedFolder writes the folder again with its matrices decoded, in float32.
func decodedFolder(t *testing.T, folder string) (dir string) {
	t.Helper()
	w, err := checkpoint.OpenWeights(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var tensors []checkpoint.Tensor
	for _, name := range w.Names() {
		shape, _ := w.Shape(name)
		n := 1
		for _, d := range shape {
			n *= d
		}
		x := checkpoint.Tensor{Name: name, Shape: shape, F32: make([]float32, n)}
		if err := w.ReadFloat32(name, x.F32); err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, x)
	}
	dir = t.TempDir()
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, storage.ModelFile), nil, tensors); err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	text, err := os.ReadFile(filepath.Join(folder, storage.ConfigFile))
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	delete(config, "quantization_config")
	if text, err = json.Marshal(config); err == nil {
		err = os.WriteFile(filepath.Join(dir, storage.ConfigFile), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func loaded(t *testing.T, dev driver.Device, dir string, o Options) *Model {
	t.Helper()
	m, err := Load(dev, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// TestGroupedFolders: folders of GPTQ, AWQ, fp8 and compressed-tensors have transformers'
// loss with the decoded weights, their matrices equal the libraries' to the bit, and losses
// and gradients of adapters have the same bits as with the decoded folder.
func TestGroupedFolders(t *testing.T) {
	ids, folders := recordedFolders(t)
	dev := closing(t, cpu.New(2))
	for name, want := range folders {
		folder := filepath.Join(groupedFolders, name)
		m := loaded(t, dev, folder, Options{})
		n := len(ids) - 1
		b := Batch{Tokens: ids, Targets: append(slices.Clone(ids[1:]), -1)}
		weight := make([]float32, n+1)
		for i := range n {
			weight[i] = 1 / float32(n)
		}
		matricesAs(t, folder, want.SHA256)
		for _, p := range m.base() {
			if format := m.decoded[p]; (format != "") != (strings.Contains(p.Name, "_proj") && len(p.Shape) > 1) {
				t.Errorf("%s: %s was decoded from %q", name, p.Name, format)
			}
		}
		plain := loaded(t, dev, decodedFolder(t, folder), Options{})
		if !m.Quantised() || plain.Quantised() {
			t.Errorf("%s is quantised %v, in numbers %v", name, m.Quantised(), plain.Quantised())
		}
		var got [2]passed
		for i, m := range []*Model{plain, m} {
			adapt(t, m, LoRA{Rank: 4, Alpha: 8, Targets: []string{"all"}})
			got[i] = passOn(t, m, b, Objective{Weight: weight})
		}
		optest.Same(t, name+" losses", got[1].losses, got[0].losses)
		for p, g := range got[0].gradients {
			optest.Same(t, name+" "+p, got[1].gradients[p], g)
		}
		m.dropAdapter()
		losses, err := m.Losses(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		var loss float64
		for _, l := range losses {
			loss += float64(l) / float64(n)
		}
		if math.Abs(loss-want.Loss) > 1e-5 {
			t.Errorf("%s: loss %v, transformers' is %v", name, loss, want.Loss)
		}
	}
}

// matricesAs compares the quantised matrices of a folder with their hashes.
func matricesAs(t *testing.T, folder string, want map[string]string) {
	t.Helper()
	w, err := checkpoint.OpenWeights(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, name := range w.Names() {
		sum, quantised := want[name]
		if quantised != (w.Quantised(name) != "") {
			t.Errorf("%s: %s is quantised as %q", folder, name, w.Quantised(name))
		}
		shape, _ := w.Shape(name)
		if !quantised || len(shape) != 2 {
			continue
		}
		x := make([]float32, shape[0]*shape[1])
		if err := w.ReadFloat32(name, x); err != nil || hashOf(x) != sum {
			t.Errorf("%s: %s is not the library's matrix (%v)", folder, name, err)
		}
	}
}

func hashOf(x []float32) string {
	h := sha256.New()
	for _, v := range x {
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], math.Float32bits(v))
		h.Write(b[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestGroupedInBF16: on a device with bf16 the matrices are the decoded ones, rounded, and
// the planned memory equals the memory used.
func TestGroupedInBF16(t *testing.T) {
	_, folders := recordedFolders(t)
	dev := optest.Device(t, 80)
	for name := range folders {
		folder := filepath.Join(groupedFolders, name)
		before := dev.Used()
		m := loaded(t, dev, folder, Options{BF16: true})
		if planned := loaded(t, plan.New(dev), folder, Options{BF16: true, Planned: true}); planned.Memory(0, 0).Weights != dev.Used()-before || !m.BF16() {
			t.Errorf("%s: %d bytes planned, %d taken", name, planned.Memory(0, 0).Weights, dev.Used()-before)
		}
		plain := loaded(t, dev, decodedFolder(t, folder), Options{BF16: true})
		of := plain.base()
		for i, p := range m.base() {
			x, err := p.Read(dev)
			if err != nil {
				t.Fatal(err)
			}
			want, err := of[i].Read(dev)
			if err != nil {
				t.Fatal(err)
			}
			optest.Same(t, name+" "+p.Name, x, want)
		}
	}
}

// TestGroupedStays: decoded matrices cannot be trained, merged into, saved or resized, and
// quantization_bit does not affect them, each with the way out; the notes name what was
// decoded.
func TestGroupedStays(t *testing.T) {
	dev := closing(t, cpu.New(1))
	folder := filepath.Join(groupedFolders, "ct-int8")
	m := loaded(t, dev, folder, Options{Quantise: &quant.Format{Kind: quant.Int8}})
	notes := strings.Join(m.Notes(), "\n")
	for _, want := range []string{
		"7 matrices in compressed-tensors int8 are decoded as they are read and kept in float32: 0.1 MB in memory of 0.0 MB in the files",
		"activations are not quantised", "quantization_bit does not affect it",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
	if _, coded := m.Coding(); coded {
		t.Error("quantization_bit quantised it again")
	}
	saves := LoRA{Rank: 2, Alpha: 2, Targets: []string{"q_proj"}, ModulesToSave: []string{"k_proj"}}
	for what, err := range map[string]error{
		"training":            m.TrainAll(),
		"modules_to_save":     m.AddLoRA(saves, func() float64 { return 0 }),
		"saving":              m.SaveFull(t.TempDir()),
		"a larger vocabulary": m.ResizeVocab(64, func() float64 { return 0 }),
		"PiSSA":               m.AddLoRA(LoRA{Rank: 2, Alpha: 2, Targets: []string{"q_proj"}, PiSSA: "pissa"}, func() float64 { return 0 }),
		"merging": func() error {
			adapt(t, m, LoRA{Rank: 2, Alpha: 2, Targets: []string{"all"}, ModulesToSave: []string{"embed_tokens"}})
			return m.Merge()
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), "quanti") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestGroupedIdentity: folders in different formats, and the decoded one, are different
// models for caches and checkpoints.
func TestGroupedIdentity(t *testing.T) {
	_, folders := recordedFolders(t)
	dev := closing(t, cpu.New(1))
	seen := map[string]string{}
	for name := range folders {
		folder := filepath.Join(groupedFolders, name)
		for _, dir := range []string{folder, decodedFolder(t, folder)} {
			id, err := loaded(t, dev, dir, Options{}).Identity()
			if err != nil {
				t.Fatal(err)
			}
			if other := seen[id]; other != "" {
				t.Errorf("%s and %s are one model", dir, other)
			}
			seen[id] = dir
		}
	}
}
