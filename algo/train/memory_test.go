package train

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/model/decoder"
)

// limited is a device with that much memory.
type limited struct {
	driver.Device
	memory uint64
}

func (d limited) Attributes() driver.Attributes {
	a := d.Device.Attributes()
	a.MemoryBytes = d.memory
	return a
}

// TestCheckpointingWhereNeeded: activations are kept if they fit; if they do not, layers are
// recomputed, which the plan says, unless the configuration forbids it: then the run is
// refused with the way out.
func TestCheckpointingWhereNeeded(t *testing.T) {
	dir := t.TempDir()
	shape := `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 64,
		"num_hidden_layers": 8, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 64}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(shape), 0o644); err != nil {
		t.Fatal(err)
	}
	host := cpu.New(1)
	defer host.Close()
	d := &Data{Train: make([]data.Example, 3), Labels: []int32{100, 2000, 300}}
	for i, n := range []int{150, 2000, 700} {
		d.Train[i].InputIDs = make([]int32, n)
	}
	made := func(memory uint64, change func(c *config.Config)) *forecast {
		m, err := decoder.Init(plan.New(host), dir, decoder.Options{Planned: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		if err := m.AddLoRA(decoder.LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}}, func() float64 { return 0.5 }); err != nil {
			t.Fatal(err)
		}
		f := &forecast{config: &config.Config{}, plan: Plan{Micro: 2}, device: limited{host, memory}, model: m}
		if change != nil {
			change(f.config)
		}
		f.planMemory(1000, d)
		return f
	}
	all := made(0, nil)
	if all.checkpoints() != "kept" || all.budget.Activations != all.kept || all.fits() != nil {
		t.Errorf("without a limit: %s", all.checkpoints())
	}
	if f := made(all.memory(), nil); f.checkpoints() != "kept" {
		t.Errorf("where they fit just so: %s", f.checkpoints())
	}
	again := made(all.memory()-1, nil)
	if s := again.checkpoints(); !strings.HasSuffix(s, ", which do not fit") || again.fits() != nil || again.budget.Activations > all.kept/2 || again.kept != all.kept {
		t.Errorf("%s, %d bytes of %d, %v", s, again.budget.Activations, all.kept, again.fits())
	}
	refused := made(all.memory()-1, func(c *config.Config) { c.Model.DisableGradientCheckpointing = true })
	if err := refused.fits(); err == nil || !strings.Contains(err.Error(), "; leave out disable_gradient_checkpointing, lower per_device") {
		t.Errorf("%v", err)
	}
	asked := made(0, func(c *config.Config) { c.Training.GradientCheckpointing = true })
	if asked.budget.Activations != again.budget.Activations || !strings.Contains(asked.checkpoints(), "(gradient_checkpointing)") {
		t.Errorf("%s", asked.checkpoints())
	}
	if err := made(again.memory()-1, nil).fits(); err == nil || strings.Contains(err.Error(), "leave out") {
		t.Errorf("where nothing helps: %v", err)
	}
}
