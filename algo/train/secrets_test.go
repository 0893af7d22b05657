package train_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// TestNoSecretIsKept: secrets planted in a configuration, a component, the data set's
// description and a path are not in any file of a run.
func TestNoSecretIsKept(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	// None of these is real.
	planted := []string{"hf_PlantedPlantedPlanted01", "sk-plantedplantedplanted02", "planted-password-03", "planted-key-04", "hf_PlantedPlantedPlanted05", "planted-password-06", "planted-word-07"}
	f := newFixture(t)
	t.Setenv("MLFLOW_TRACKING_URI", filepath.Join(f.dir, "mlruns"))
	f.write("components.yaml", fmt.Sprintf(`selectors:
  it:
    name: custom
    params:
      command: [sh, -c, "while read l; do echo '{\"indices\":[7,6,5,4,3,2,1,0]}'; done", %[3]s, "https://me:%[2]s@host/v1", "api_key=%[4]s"]
      cache_dir: %[1]s/cache/it
`, f.dir, planted[5], planted[0], planted[6]))
	raw, err := os.ReadFile(filepath.Join(f.dir, "run.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("run.yaml", strings.Replace(string(raw), "dataset_dir: "+f.dir, fmt.Sprintf(`dataset_dir:
  pool: {file_name: %[1]s/pool.json, token: %[2]s, source: "https://me:%[3]s@example.org/pool"}
  eval: {file_name: %[1]s/eval.json}`, f.dir, planted[4], planted[2]), 1))
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), []string{
		"train_type=dynamic_select", "component_name=it", "max_steps=4", "save_steps=2", "plot_loss=true", "report_to=tensorboard,mlflow",
		"hf_hub_token=" + planted[0], "run_name=" + planted[1], "ddp_backend=https://host/?api_key=" + planted[3],
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := train.Run(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	secret := regexp.MustCompile(`(?i)planted`)
	n := 0
	for _, dir := range []string{"out", "mlruns"} {
		err = filepath.WalkDir(filepath.Join(f.dir, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			n++
			raw, err := os.ReadFile(path)
			if at := secret.FindIndex(raw); at != nil {
				rel, _ := filepath.Rel(f.dir, path)
				t.Errorf("%s: …%s…", rel, strings.ToValidUTF8(string(raw[max(0, at[0]-60):min(len(raw), at[1]+40)]), "?"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 20 {
		t.Errorf("only %d files", n)
	}
}
