package nccl_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// headerEnv names the folder of NVIDIA's nccl.h (nvidia/nccl/include of the wheel
// nvidia-nccl-cu12), which our own is held against where it is set.
const headerEnv = "DATAFLEX_NCCL_INCLUDE"

func TestHeaderIsNVIDIAs(t *testing.T) {
	dir := os.Getenv(headerEnv)
	if dir == "" {
		t.Skip(headerEnv, " names no folder with NVIDIA's nccl.h")
	}
	out, err := exec.Command("gcc", "-c", "-std=gnu11", "-Wall", "-Wno-unused-function", "-Werror=incompatible-pointer-types", "-Iabicheck/standin", "-I"+dir,
		"-DDATAFLEX_NCCL_ABI_CHECK", "abicheck/check.c", "-o", filepath.Join(t.TempDir(), "check.o")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
