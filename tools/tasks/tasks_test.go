package tasks

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// TestMake: the clean rows of the target are sums, every family has its share, and the share of
// noise is as requested.
func TestMake(t *testing.T) {
	rows := Make(3, 100, 0.3, Families)
	if !reflect.DeepEqual(rows, Make(3, 100, 0.3, Families)) {
		t.Error("the same seed gives other rows")
	}
	count, noise := map[string]int{}, 0
	for _, r := range rows {
		count[r.Family]++
		if r.Noise {
			noise++
		}
		var a, b int
		if n, _ := fmt.Sscanf(r.Instruction, "Add %d and %d", &a, &b); n == 2 && !r.Noise && r.Output != fmt.Sprint(a+b) {
			t.Errorf("%s: %s", r.Instruction, r.Output)
		}
	}
	for _, f := range Families {
		if count[f.Name] != 100 {
			t.Errorf("%d rows of %s", count[f.Name], f.Name)
		}
	}
	if noise < 150 || noise > 210 { // 180 of 600, two and a half standard deviations
		t.Errorf("%d noisy rows of 600", noise)
	}
	for _, r := range Only(rows, Target) {
		if r.Family != Target || r.Noise {
			t.Errorf("not a clean row of %s: %+v", Target, r)
		}
	}
	if len(Known()) != len(Families)-1 {
		t.Errorf("%d known families of %d", len(Known()), len(Families))
	}
}

// TestWrite: the files read back, under the name in dataset_info.json.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	rows := Make(1, 2, 0, Families)
	if err := Write(dir, map[string][]Row{"pool": rows}); err != nil {
		t.Fatal(err)
	}
	var info map[string]struct {
		File string `json:"file_name"`
	}
	var back []Row
	for path, v := range map[string]any{"dataset_info.json": &info, "pool.json": &back} {
		raw, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, v); err != nil {
			t.Fatal(err)
		}
	}
	if info["pool"].File != "pool.json" || !reflect.DeepEqual(back, rows) {
		t.Errorf("info %v, %d rows of %d", info, len(back), len(rows))
	}
}
