package train_test

import (
	"math"
	"path/filepath"
	"testing"
)

// TestExpertsTrainOnTheInterpreter: steps of a mixture of sixteen experts, whose products share
// launches on a device, have the host's losses and norms, with LoRA and in full.
func TestExpertsTrainOnTheInterpreter(t *testing.T) {
	f := small(t)
	f.model("many", map[string]any{"architectures": []string{"MixtralForCausalLM"}, "model_type": "mixtral", "num_local_experts": 16, "num_experts_per_tok": 2})
	for kind, device := range map[string]string{"lora": "sim", "full": "sim:90"} {
		run := func(device string) (loss, norm []float64) {
			dir := filepath.Join(f.dir, kind+"-"+device)
			err := f.runOn(device, "model_name_or_path="+f.dir+"/many", "output_dir="+dir, "finetuning_type="+kind, "train_type=static",
				"cutoff_len=32", "per_device_train_batch_size=1", "gradient_accumulation_steps=2", "max_steps=3", "lora_target=all")
			if err != nil {
				t.Fatal(err)
			}
			return losses(t, dir)
		}
		loss, norm := run("cpu")
		gotLoss, gotNorm := run(device)
		if len(gotLoss) != 3 || len(loss) != 3 {
			t.Fatalf("%s on %s: %d steps, the host has %d", kind, device, len(gotLoss), len(loss))
		}
		for i := range loss { // within what TestTrainsOnTheInterpreter allows in float32
			if math.Abs(gotLoss[i]-loss[i]) > 1e-4 || math.Abs(gotNorm[i]-norm[i]) > 1e-4 {
				t.Errorf("%s on %s, step %d: loss %v and norm %v, the host has %v and %v", kind, device, i, gotLoss[i], gotNorm[i], loss[i], norm[i])
			}
		}
	}
}
