package train

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"dataflex.dev/dataflex/data/cache"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/launch"
	"dataflex.dev/dataflex/kernels/selftest"
)

// openAuto opens the first GPU if this build can use one, it has kernels for everything that
// the model computes, and it passes its self-test; otherwise the CPU, logging the reason.
// lacks names what has no kernels; "" = nothing.
func openAuto(lacks string, log *slog.Logger) (driver.Device, error) {
	gpu, why := firstGPU()
	if gpu == nil {
		return openCPU(why, launch.Alone, log)
	}
	return choose(gpu, lacks, provenDir(), log)
}

// choose returns gpu, or the CPU in its place.
func choose(gpu driver.Launcher, lacks, proven string, log *slog.Logger) (driver.Device, error) {
	start, name := time.Now(), gpu.Attributes().Name
	instead := func(why string) (driver.Device, error) {
		if err := gpu.Close(); err != nil {
			log.Warn("closing the GPU", "name", name, "error", err)
		}
		return openCPU(why, launch.Alone, log)
	}
	if lacks != "" {
		return instead(fmt.Sprintf("the model needs %s, for which %s has no kernels here", lacks, name))
	}
	tested, err := prove(gpu, proven, log)
	if err != nil {
		return instead(fmt.Sprintf("%s does not pass its self-test (--device cuda uses it nevertheless): %v", name, err))
	}
	log.Info("device", "device", "cuda:0", "name", name, "self_test", tested, "seconds", time.Since(start).Seconds())
	return gpu, nil
}

// firstGPU opens a GPU that the user did not name, or returns the reason why there is none.
func firstGPU() (driver.Launcher, string) {
	why := noGPU()
	if !cuda.Built {
		return nil, why
	}
	if _, err := cuda.Available(); err != nil {
		if why != absent {
			why += ", but: " + err.Error()
		}
		return nil, why
	}
	gpu, err := cuda.Open(0)
	if err != nil {
		return nil, err.Error()
	}
	return gpu, ""
}

// provenDir is the folder that records which GPUs passed; "" = none.
func provenDir() string {
	dir, err := cache.DefaultDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "self-test")
}

// prove runs the self-test of the kernels on a device, unless the device has passed it
// before with this program and driver: then dir has a file that records it.
func prove(gpu driver.Launcher, dir string, log *slog.Logger) (tested string, err error) {
	path := ""
	if key := provenKey(gpu); dir != "" && key != "" {
		path = filepath.Join(dir, key)
	}
	if path != "" && storage.Exists(path) {
		return "passed before", nil
	}
	log.Info("self-test of the GPU: every kernel once, which its driver compiles the first time (up to half a minute)", "name", gpu.Attributes().Name)
	if err := selftest.Run(gpu); err != nil {
		return "", err
	}
	if path == "" {
		return "passed", nil
	}
	err = os.MkdirAll(dir, 0o755)
	if err == nil {
		err = storage.WriteFile(path, []byte(gpu.Attributes().Name+"\n"))
	}
	if err != nil { // the GPU passed nevertheless
		log.Warn("the passed self-test of the GPU could not be recorded", "error", err)
	}
	return "passed", nil
}

// provenKey identifies a GPU with its driver and this program's bytes; "" if the program
// cannot be read.
func provenKey(gpu driver.Launcher) string {
	exe, err := os.Executable()
	if err != nil {
		return ""
	}
	sum, _, err := storage.SHA256(exe)
	if err != nil {
		return ""
	}
	version := 0
	if d, ok := gpu.(cuda.Describer); ok {
		version = d.Properties().DriverVersion
	}
	h := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%d\n%s\n", gpu.Attributes().Name, gpu.Attributes().Capability, version, sum))
	return hex.EncodeToString(h[:16])
}
