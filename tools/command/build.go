package command

import (
	"os"

	"dataflex.dev/dataflex/driver/cuda"
)

// nvidia is a file that exists where NVIDIA's kernel module has found a GPU.
const nvidia = "/proc/driver/nvidia/version"

// otherBuild is the hint of a program without the CUDA driver on a machine with an NVIDIA GPU:
// which build can use it. "" = none.
func otherBuild(built bool, module string) string {
	if built {
		return ""
	}
	if _, err := os.Stat(module); err != nil {
		return ""
	}
	return "this machine has an NVIDIA GPU, and this program is the static build, which cannot use it: " +
		"make on linux/amd64 with gcc builds the one that can, and the release's linux-amd64 archive contains it"
}

// nameBuild prints that hint.
func nameBuild() {
	if text := otherBuild(cuda.Built, nvidia); text != "" {
		Logger(os.Stderr).Warn(text)
	}
}
