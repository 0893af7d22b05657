package decoder

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
)

// TestReleased: models of released folders have the folders' tensors with their shapes, and
// superfluous tensors are known to be ignored. The lists come from config.json and the index on
// the models' pages; [a-b] stands for all numbers from a to b.
func TestReleased(t *testing.T) {
	raw, err := os.ReadFile("testdata/released_moe.json")
	must(t, err)
	var all []struct {
		Model   string
		Config  json.RawMessage
		Tensors map[string][]int
	}
	must(t, json.Unmarshal(raw, &all))
	host := cpu.New(1)
	defer host.Close()
	for _, r := range all {
		t.Run(r.Model, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, storage.ConfigFile), r.Config, 0o600))
			m, err := Init(plan.New(host), dir, Options{Planned: true}, nil)
			must(t, err)
			listed := map[string][]int{}
			for pattern, shape := range r.Tensors {
				for _, name := range ranges(pattern) {
					listed[name] = shape
				}
			}
			unpackBlocks(listed)
			for _, p := range m.base() {
				for _, s := range m.tensors(p, p.Name) {
					if shape, ok := listed[s.Name]; !ok || !slices.Equal(shape, s.Shape) {
						t.Fatalf("%s is %v here, the folder's %v", s.Name, s.Shape, shape)
					}
					delete(listed, s.Name)
				}
			}
			for name := range listed {
				if !m.derived(name) {
					t.Errorf("%s has no place in the model", name)
				}
			}
		})
	}
}

var rangePattern = regexp.MustCompile(`\[(\d+)-(\d+)\]`)

// ranges returns the names that a pattern stands for.
func ranges(pattern string) (names []string) {
	at := rangePattern.FindStringSubmatchIndex(pattern)
	if at == nil {
		return []string{pattern}
	}
	first, _ := strconv.Atoi(pattern[at[2]:at[3]])
	last, _ := strconv.Atoi(pattern[at[4]:at[5]])
	for i := first; i <= last; i++ {
		names = append(names, ranges(fmt.Sprint(pattern[:at[0]], i, pattern[at[1]:]))...)
	}
	return names
}

// unpackBlocks converts tensors in MXFP4, as checkpoint does.
func unpackBlocks(listed map[string][]int) {
	for name, b := range listed {
		if base, ok := strings.CutSuffix(name, "_blocks"); ok {
			listed[base] = []int{b[0], b[2] * 2 * b[3], b[1]}
			delete(listed, name)
			delete(listed, base+"_scales")
		}
	}
}
