package decoder

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/rope"
)

// TestIdentity: everything that changes a model's results changes its identity, and nothing
// else does.
func TestIdentity(t *testing.T) {
	dir, other := "../../tools/dataflex-demo/model", t.TempDir()
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	lora := LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}}
	adapter := func(seed uint64) string {
		m := load(t, dir, Options{})
		must(t, m.AddLoRA(lora, rand.New(rand.NewPCG(seed, 1)).Float64))
		out := filepath.Join(t.TempDir(), "adapter")
		must(t, os.Mkdir(out, 0o755))
		must(t, m.SaveAdapter(out))
		return out
	}
	one, two := adapter(1), adapter(2)
	seen := map[string]string{}
	for _, c := range []struct {
		name string
		make func() *Model
	}{
		{"as it is", func() *Model { return load(t, dir, Options{}) }},
		{"rope scaling", func() *Model { return load(t, dir, Options{Rope: &rope.Scaling{Type: "linear", Factor: 2}}) }},
		{"positions", func() *Model { return load(t, dir, Options{MaxPositions: 4096}) }},
		{"lora", func() *Model { return adapted(t, dir, lora) }},
		{"alpha", func() *Model { return adapted(t, dir, LoRA{Rank: 2, Alpha: 8, Targets: lora.Targets}) }},
		{"dropout", func() *Model { return adapted(t, dir, LoRA{Rank: 2, Alpha: 4, Dropout: 0.1, Targets: lora.Targets}) }},
		{"targets", func() *Model { return adapted(t, dir, LoRA{Rank: 2, Alpha: 4, Targets: []string{"q_proj"}}) }},
		{"adapter 1 merged", func() *Model { return merged(t, dir, one) }},
		{"adapter 2 merged", func() *Model { return merged(t, dir, two) }},
		{"vocabulary", func() *Model {
			m := load(t, dir, Options{})
			must(t, m.ResizeVocab(m.Config().Vocab+1, rand.New(rand.NewPCG(1, 1)).NormFloat64))
			return m
		}},
		{"everything trains", func() *Model { m := load(t, dir, Options{}); must(t, m.TrainAll()); return m }},
		{"other weights", func() *Model {
			m := load(t, dir, Options{})
			must(t, m.clearRow(m.embed, 1))
			must(t, m.SaveFull(other))
			m.Close()
			return load(t, other, Options{})
		}},
	} {
		id := identityOf(t, c.make())
		if again := identityOf(t, c.make()); again != id {
			t.Errorf("%s: made twice, two identities", c.name)
		}
		if before, ok := seen[id]; ok {
			t.Errorf("%s has the identity of %s", c.name, before)
		}
		seen[id] = c.name
	}
	copied := t.TempDir()
	must(t, os.CopyFS(copied, os.DirFS(dir)))
	if seen[identityOf(t, load(t, copied, Options{}))] != "as it is" {
		t.Error("a copy of the folder has another identity")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir string, o Options) *Model {
	t.Helper()
	m, err := Load(cpu.New(1), dir, o)
	must(t, err)
	return m
}

func adapted(t *testing.T, dir string, l LoRA) *Model {
	t.Helper()
	m := load(t, dir, Options{})
	must(t, m.AddLoRA(l, rand.New(rand.NewPCG(1, 1)).Float64))
	return m
}

func merged(t *testing.T, dir, adapter string) *Model {
	t.Helper()
	m := load(t, dir, Options{})
	must(t, m.LoadAdapter(adapter))
	must(t, m.Merge())
	return m
}

func identityOf(t *testing.T, m *Model) string {
	t.Helper()
	defer m.Close()
	id, err := m.Identity()
	must(t, err)
	return id
}

// TestReplacedAfterItWasRead: a model whose files are replaced, or written over with as many
// bytes, has no identity: it would name weights that it does not have.
func TestReplacedAfterItWasRead(t *testing.T) {
	for _, inPlace := range []bool{true, false} {
		dir := t.TempDir()
		must(t, os.CopyFS(dir, os.DirFS("../../tools/dataflex-demo/model")))
		m := load(t, dir, Options{})
		path := filepath.Join(dir, "model.safetensors")
		text, err := os.ReadFile(path)
		must(t, err)
		text[len(text)-1] ^= 1
		if inPlace {
			must(t, os.WriteFile(path, text, 0o644))
		} else {
			must(t, os.WriteFile(path+".new", text, 0o644))
			must(t, os.Rename(path+".new", path))
		}
		if id, err := m.Identity(); err == nil || !strings.Contains(err.Error(), dir+" was changed or replaced after it was read: start again") {
			t.Errorf("in place %v: %q, %v", inPlace, id, err)
		}
		m.Close()
	}
}
