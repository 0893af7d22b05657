//go:build cgo && linux && cuda

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNCCL: two processes that the program starts itself, on a driver library whose GPU is
// the interpreter (make test-simcuda), and with a NCCL for tests: the adapter of one process
// with two logical ranks, byte for byte.
func TestNCCL(t *testing.T) {
	if !strings.Contains(os.Getenv("DATAFLEX_LIBCUDA"), "simcuda") {
		t.Skip("DATAFLEX_LIBCUDA is not the interpreter's library: make test-simcuda sets it")
	}
	c := newRun(t)
	fake := filepath.Join(c.dir, "libnccl.so.2")
	const source = "../../driver/nccl/testdata/fakenccl/"
	if out, err := exec.Command("gcc", "-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-o", fake, source+"hub.c", source+"comm.c", "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("the NCCL for tests does not compile: %v\n%s", err, out)
	}
	train := func(name, env string, more ...string) string {
		cmd := c.command(1, append([]string{"--device", "cuda", c.out(name), "max_steps=2", "do_eval=false", "lora_dropout=0"}, more...)...)
		cmd.Env = append(cmd.Env, "DATAFLEX_LIBNCCL="+fake, "GODEBUG=asyncpreemptoff=1", env)
		if env == "" {
			cmd.Args = append(cmd.Args, "ranks=2")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return c.adapter(name)
	}
	one := train("one", "")
	if one != train("two", "NPROC_PER_NODE=2") {
		t.Error("two processes train another adapter than one")
	}
	if one != train("shared", "NPROC_PER_NODE=2", "deepspeed={zero_optimization: {stage: 3}}") {
		t.Error("two processes that shard gradients and weights train another adapter than one")
	}
}
