package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hubOf serves folders as repositories: "models/org/name" to its folder.
func hubOf(t *testing.T, folders map[string]string) *httptest.Server {
	t.Helper()
	const commit = "0123456789abcdef0123456789abcdef01234567"
	mux := http.NewServeMux()
	for repo, dir := range folders {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var list []map[string]any
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") || e.IsDir() {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			blob := sha1.Sum([]byte(fmt.Sprintf("blob %d\x00%s", len(text), text)))
			f := map[string]any{"type": "file", "path": e.Name(), "size": len(text), "oid": hex.EncodeToString(blob[:])}
			if strings.HasSuffix(e.Name(), ".safetensors") {
				sum := sha256.Sum256(text)
				f["lfs"] = map[string]any{"oid": hex.EncodeToString(sum[:]), "size": len(text)}
			}
			list = append(list, f)
		}
		path := strings.TrimPrefix(repo, "models/")
		mux.HandleFunc("/api/"+repo+"/revision/main", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"sha":%q}`, commit) })
		mux.HandleFunc("/api/"+repo+"/tree/"+commit, func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(list) })
		mux.Handle("/"+path+"/resolve/"+commit+"/", http.StripPrefix("/"+path+"/resolve/"+commit+"/", http.FileServer(http.Dir(dir))))
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// TestDownloadThenTrain: a model and a data set are fetched by name, and without the hub used
// by name in training, check, tokenize and eval; the adapter records the model's name.
func TestDownloadThenTrain(t *testing.T) {
	clone(t)
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE", "USE_MODELSCOPE_HUB"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("MODELSCOPE_CACHE", t.TempDir())
	if err := os.MkdirAll("rows", 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("data/sums.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("rows/train.jsonl", text, 0o644); err != nil {
		t.Fatal(err)
	}
	s := hubOf(t, map[string]string{"models/org/demo": "tools/dataflex-demo/model", "datasets/org/sums": "rows"})
	t.Setenv("HF_ENDPOINT", s.URL)
	args := []string{
		"train", "--stage", "sft", "--do_train", "--finetuning_type", "lora", "--model_name_or_path", "org/demo", "--template", "chatml",
		"--dataset_dir", `{s: {hf_hub_url: org/sums}}`, "--dataset", "s", "--cutoff_len", "64", "--output_dir", "out", "--max_steps", "2",
	}
	if code, stderr := capture(t, args); code != 1 || !strings.Contains(stderr, "`dataflex-cli download org/demo` fetches it") {
		t.Errorf("before the download: exit code %d, %s", code, stderr)
	}
	for _, line := range []string{"download org/demo", "download org/sums --dataset"} {
		code, out := captured(t, &os.Stdout, strings.Fields(line))
		if _, err := os.Stat(strings.TrimSpace(out)); code != 0 || err != nil {
			t.Fatalf("%s: exit code %d, %s, %v", line, code, out, err)
		}
	}
	s.Close()
	if code, stderr := capture(t, args); code != 0 {
		t.Fatal(stderr)
	}
	var adapter struct {
		Base string `json:"base_model_name_or_path"`
	}
	text, err = os.ReadFile("out/adapter_config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &adapter); err != nil || adapter.Base != "org/demo" {
		t.Errorf("the adapter belongs to %q, %v", adapter.Base, err)
	}
	for _, line := range []string{
		"export data/examples/export.yaml model_name_or_path=org/demo adapter_name_or_path=out",
		"embed org/demo rows/train.jsonl v.npy",
	} {
		if code, stderr := capture(t, strings.Fields(line)); code != 0 {
			t.Errorf("%s: %s", line, stderr)
		}
	}
	if code, stderr := capture(t, []string{"download", "org/none"}); code != 1 || !strings.Contains(stderr, "connection refused") {
		t.Errorf("without a hub: exit code %d, %s", code, stderr)
	}
}
