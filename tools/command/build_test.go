package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOtherBuild: only a static build on a machine with an NVIDIA GPU names the other one.
func TestOtherBuild(t *testing.T) {
	module := filepath.Join(t.TempDir(), "version")
	if got := otherBuild(false, module); got != "" {
		t.Errorf("no GPU: %q", got)
	}
	if err := os.WriteFile(module, []byte("NVRM version: NVIDIA UNIX x86_64 Kernel Module\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := otherBuild(false, module); !strings.Contains(got, "make on linux/amd64 with gcc") {
		t.Errorf("a GPU and the static build: %q", got)
	}
	if got := otherBuild(true, module); got != "" {
		t.Errorf("a GPU and the build that uses it: %q", got)
	}
}
