package decoder

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/checkpoint"
)

// TestTargetParameters: adapters that PEFT put on tensors of experts have its losses, unmerged
// and merged, for every layout of such tensors and for PEFT 0.18's order of their dimensions;
// and they cannot be trained further.
func TestTargetParameters(t *testing.T) {
	const folder = "testdata/target_parameters"
	recorded := readAdapterLosses(t, folder)
	for _, name := range slices.Sorted(maps.Keys(recorded.Adapters)) {
		t.Run(name, func(t *testing.T) {
			want := recorded.Adapters[name]
			dir := filepath.Join(folder, name)
			m := load(t, filepath.Join(folder, want.Base), Options{})
			must(t, m.LoadAdapter(dir))
			meanLoss(t, m, recorded.IDs, want.Loss)
			for what, err := range map[string]error{"training it": m.Continues(), "saving it": m.SaveAdapter(t.TempDir())} {
				if err == nil || !strings.Contains(err.Error(), "create_new_adapter") {
					t.Errorf("%s: %v", what, err)
				}
			}
			must(t, m.Merge())
			meanLoss(t, m, recorded.IDs, want.Loss)
			out := t.TempDir()
			must(t, m.SaveFull(out))
			meanLoss(t, load(t, out, Options{}), recorded.IDs, want.Loss)
		})
	}
	m, err := Load(sim.New(sim.Options{}), filepath.Join(folder, "gpt_oss"), Options{})
	must(t, err)
	defer m.Close()
	must(t, m.LoadAdapter(filepath.Join(folder, "gpt_oss-adapter")))
	must(t, m.Merge())
	meanLoss(t, m, recorded.IDs, recorded.Adapters["gpt_oss-adapter"].Loss)
}

// adapterLosses are folders of adapters that PEFT wrote, and its loss of the ids with each.
type adapterLosses struct {
	IDs      []int32
	Adapters map[string]struct {
		Base string
		Loss float64
	}
}

func readAdapterLosses(t *testing.T, folder string) (r adapterLosses) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "recorded.json"))
	must(t, err)
	must(t, json.Unmarshal(text, &r))
	return r
}

// TestTargetParametersElsewhere: a name that is not a tensor of experts is refused.
func TestTargetParametersElsewhere(t *testing.T) {
	base := "testdata/target_parameters/mixtral"
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(base+"-one")))
	path := filepath.Join(dir, "adapter_config.json")
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(strings.Replace(string(text), "experts.gate_up_proj\"", "gate.weight\"", 1)), 0o644))
	err = load(t, base, Options{}).LoadAdapter(dir)
	if err == nil || !strings.Contains(err.Error(), `target_parameters has "gate.weight", which names no tensor of experts`) {
		t.Error(err)
	}
	c, err := checkpoint.ReadAdapterConfig(base + "-one")
	must(t, err)
	if got := c.RankOf("model.layers.0.mlp.experts.gate_up_proj"); got != 3 {
		t.Errorf("rank %d by rank_pattern, want 3", got)
	}
}
