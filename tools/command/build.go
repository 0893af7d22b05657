package command

import (
	"os"

	"dataflex.dev/dataflex/driver/cuda"
)

// nvidia is what NVIDIA's kernel module shows where it has found a GPU.
const nvidia = "/proc/driver/nvidia/version"

// otherBuild is what a program without the CUDA driver says on a machine that has an
// NVIDIA GPU, before anything else: which build can use it. "" = nothing.
func otherBuild(built bool, module string) string {
	if built {
		return ""
	}
	if _, err := os.Stat(module); err != nil {
		return ""
	}
	return "this machine has an NVIDIA GPU, and this program is the static build, which cannot use it: " +
		"make on linux/amd64 with gcc builds the one that can, and the release's linux-amd64 archive holds it"
}

// nameBuild says so.
func nameBuild() {
	if text := otherBuild(cuda.Built, nvidia); text != "" {
		Logger(os.Stderr).Warn(text)
	}
}
