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

// openAuto takes the first GPU if this build can use one, it has kernels for all that the
// model computes, and it passes its self-test; and the processor elsewhere, saying why. lacks
// names what there are no kernels for; "" = nothing.
func openAuto(lacks string, log *slog.Logger) (driver.Device, error) {
	gpu, why := firstGPU()
	if gpu == nil {
		return openCPU(why, launch.Alone, log)
	}
	return choose(gpu, lacks, provenDir(), log)
}

// choose is gpu, or the processor in its place.
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
		return instead(fmt.Sprintf("%s does not pass its self-test (--device cuda uses it all the same): %v", name, err))
	}
	log.Info("device", "device", "cuda:0", "name", name, "self_test", tested, "seconds", time.Since(start).Seconds())
	return gpu, nil
}

// firstGPU is a GPU that nobody asked for by name, or why there is none.
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

// provenDir is where it stands which GPUs passed; "" = nowhere.
func provenDir() string {
	dir, err := cache.DefaultDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "self-test")
}

// prove has a device pass the self-test of the kernels, unless this program has seen it pass
// before, with the same driver: then dir has a file that says so.
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
	if err != nil { // it passed all the same
		log.Warn("that the GPU passed its self-test is not remembered", "error", err)
	}
	return "passed", nil
}

// provenKey names a GPU with its driver and this program, to the byte; "" where the program
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
