package train_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/kernels/simd"
)

var update = flag.Bool("update", false, "write testdata/bits.json again, of the instruction sets that this machine has")

// bitRuns are short runs by name: the weights they train are compared bit for bit.
var bitRuns = map[string]method{
	"static, lora":   {"selector", "static", "faithful", "", []string{"lora_dropout=0.1"}},
	"static, full":   {"selector", "static", "faithful", "", []string{"finetuning_type=full"}},
	"less, exact":    {"selector", "less", "faithful", "projection: none, cache_dir: %[1]s/cache/it", []string{"train_type=dynamic_select"}},
	"loss selector":  {"selector", "loss", "faithful", "cache_dir: %[1]s/cache/it", []string{"train_type=dynamic_select"}},
	"loss weighter":  {"weighter", "loss", "faithful", "", []string{"train_type=dynamic_weight", "max_steps=4"}},
	"odm, 3 domains": {"mixer", "odm", "faithful", "warmup_steps: 1", []string{"train_type=dynamic_mix", "dataset=pool,other,single", "max_steps=5"}},
	"adapt":          {"weighter", "adapt", "faithful", "refresh_interval: 3", []string{"train_type=dynamic_weight", "max_steps=4"}},
}

// TestSameBitsAsRecorded: the program trains exactly the weights that an earlier commit
// recorded, with one thread and with two. A change that intends to alter the last bits runs
// it with -update and says so; otherwise the change has altered a result.
func TestSameBitsAsRecorded(t *testing.T) {
	const file = "testdata/bits.json"
	recorded := map[string]map[string]string{} // by instruction set, by run
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &recorded)
	}
	if err != nil && !(*update && errors.Is(err, fs.ErrNotExist)) {
		t.Fatal(err)
	}
	type instructions struct{ level, unit string }
	var sets []instructions
	for _, level := range simd.Levels() {
		sets = append(sets, instructions{level, ""})
	}
	for _, unit := range []string{"avx512_bf16", "amx"} {
		sets = append(sets, instructions{"avx512", unit})
	}
	level, unit := simd.Level(), simd.Unit()
	defer func() {
		simd.Force(level)
		simd.ForceUnit(unit)
	}()
	for _, x := range sets {
		set, precision := strings.TrimSpace(runtime.GOARCH+" "+x.level+" "+x.unit), "bf16=false"
		has := x.unit == "" || slices.Contains(simd.Units(), x.unit)
		if *update && has {
			recorded[set] = map[string]string{}
		}
		t.Run(set, func(t *testing.T) {
			if recorded[set] == nil {
				t.Skipf("no hashes are recorded for %s: run this test with -update on such a machine", set)
			}
			if !has {
				t.Skipf("this machine has no %s", set)
			}
			simd.Force(x.level)
			if simd.ForceUnit(x.unit); x.unit != "" {
				precision = "bf16=true"
			}
			for name, m := range bitRuns {
				got := trainedBits(t, m, 1, precision)
				if two := trainedBits(t, m, 2, precision); two != got {
					t.Errorf("%s: on two threads the weights are %s, on one %s", name, two, got)
				}
				if *update {
					recorded[set][name] = got
				} else if want := recorded[set][name]; got != want {
					t.Errorf("%s: the weights are %s, recorded are %s", name, got, want)
				}
			}
			if got, want := len(recorded[set]), len(bitRuns); got != want {
				t.Errorf("%d runs are recorded, there are %d", got, want)
			}
		})
	}
	if *update {
		text, err := json.MarshalIndent(recorded, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// trainedBits is the hash of the weights at the end of a run of m.
func trainedBits(t *testing.T, m method, threads int, precision string) string {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
	t.Setenv("OMP_NUM_THREADS", fmt.Sprint(threads))
	f := small(t)
	f.must(m.arguments(f, "max_steps=5", "save_strategy=no", precision)...)
	name := "adapter_model.safetensors"
	if _, err := os.Stat(filepath.Join(f.dir, "out", name)); err != nil {
		name = "model.safetensors"
	}
	raw, err := os.ReadFile(filepath.Join(f.dir, "out", name))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
