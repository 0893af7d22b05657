package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/yamlfile"
)

// TestAutoShards: a share as it is written, and as Slurm's arrays and Kubernetes' indexed Jobs
// give it.
func TestAutoShards(t *testing.T) {
	env := func(s string) func(string) string {
		return func(name string) string {
			for kv := range strings.FieldsSeq(s) {
				if value, ok := strings.CutPrefix(kv, name+"="); ok {
					return value
				}
			}
			return ""
		}
	}
	for _, c := range []struct {
		shard, env string
		want       train.Shard // of no rows: an error
	}{
		{"2/8", "", train.Shard{Index: 2, Count: 8}},
		{"auto", "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=64 SLURM_ARRAY_TASK_MIN=1", train.Shard{Index: 3, Count: 64}},
		{"auto", "SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_MIN=0", train.Shard{Index: 1, Count: 4}},
		{"auto/64", "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=1 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=3", train.Shard{Index: 3, Count: 64}}, // that one again
		{"auto", "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=1 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=3", train.Shard{}},
		{"auto", "SLURM_ARRAY_TASK_ID=5 SLURM_ARRAY_TASK_COUNT=3 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=5", train.Shard{}},
		{"auto/64", "JOB_COMPLETION_INDEX=63", train.Shard{Index: 64, Count: 64}},
		{"auto", "JOB_COMPLETION_INDEX=1 JOB_COMPLETIONS=2", train.Shard{Index: 2, Count: 2}},
		{"auto", "JOB_COMPLETION_INDEX=1", train.Shard{}},
		{"auto/64", "JOB_COMPLETION_INDEX=64", train.Shard{}},
		{"auto/x", "JOB_COMPLETION_INDEX=1", train.Shard{}},
		{"auto", "SLURM_ARRAY_TASK_ID=x SLURM_ARRAY_TASK_COUNT=2", train.Shard{}},
		{"auto", "", train.Shard{}},
		{"0/8", "", train.Shard{}},
		{"9/8", "", train.Shard{}},
		{"2", "", train.Shard{}},
	} {
		got, err := parseShard(c.shard, env(c.env))
		if c.want.Count == 0 && err == nil || c.want.Count > 0 && (err != nil || got != c.want) {
			t.Errorf("%s with %q: %v, %v", c.shard, c.env, got, err)
		}
	}
}

// TestClusterExamples: the scripts and the manifests can be read.
func TestClusterExamples(t *testing.T) {
	all, err := filepath.Glob("../../data/examples/cluster/*")
	if err != nil || len(all) < 7 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, path := range all {
		switch filepath.Ext(path) {
		case ".sh":
			if out, err := exec.Command("sh", "-n", path).CombinedOutput(); err != nil {
				t.Errorf("%s: %s", path, out)
			}
		case ".yaml":
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i, part := range strings.Split(string(raw), "\n---\n") {
				if _, err := yamlfile.Parse(fmt.Sprintf("%s, part %d", path, i+1), []byte(part)); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
