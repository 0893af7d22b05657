package train

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/ptx"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/model/decoder"
)

// openDevice finds the device that a run asks for.
func openDevice(c *config.Config, o Options) (driver.Device, error) {
	if o.Device == "" && c.Training.UseCPU {
		return openCPU("use_cpu is set", o.Log)
	}
	if o.Device == "" || o.Device == "auto" {
		return openAuto(decoder.HostOnly(c.Model.NameOrPath), o.Log)
	}
	return OpenDevice(o.Device, o.Log)
}

// openCPU takes the processor and says why it is not the GPU.
func openCPU(why string, log *slog.Logger) (driver.Device, error) {
	threads, err := threads()
	if err != nil {
		return nil, err
	}
	dev := cpu.New(threads)
	log.Info("device", "device", "cpu", "threads", dev.Threads(), "instruction_set", simd.Level(), "no_gpu", why)
	return dev, nil
}

// absent is what noGPU says where no device node is.
const absent = "there is no NVIDIA device here"

// noGPU says why a run that names no device takes the CPU, as far as the system's files tell.
func noGPU() string {
	for _, node := range []string{"/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"} { // the last: Windows' own, seen from its Linux
		switch _, err := os.Stat(node); {
		case err != nil:
		case cuda.Built:
			return node + " is there"
		default:
			return node + " is there, and this build cannot use it"
		}
	}
	return absent
}

// OpenDevice finds the device that --device names; "" is auto, a GPU that passes its
// self-test, or the CPU. There is no silent fallback: the log says why it is the CPU, and
// asking for a GPU where there is none is an error. CloseDevice gives it back.
func OpenDevice(want string, log *slog.Logger) (driver.Device, error) {
	threads, err := threads()
	if err != nil {
		return nil, err
	}
	switch {
	case want == "cpu":
		return openCPU("--device cpu", log)
	case want == "", want == "auto":
		return openAuto("", log)
	case want == "sim", strings.HasPrefix(want, "sim:"):
		capability, err := simulated(want)
		if err != nil {
			return nil, err
		}
		dev := sim.New(sim.Options{Workers: threads, Capability: capability})
		log.Info("device", "device", want, "name", dev.Attributes().Name, "threads", dev.Attributes().Units)
		return dev, nil
	case want == "cuda", strings.HasPrefix(want, "cuda:"):
		return openCUDA(want, log)
	}
	return nil, fmt.Errorf("--device %s: the devices are auto, cpu, cuda, cuda:N, sim and sim:90", want)
}

// threads is what OMP_NUM_THREADS says; 0 = nothing.
func threads() (int, error) {
	s := os.Getenv("OMP_NUM_THREADS")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("OMP_NUM_THREADS=%q is not a number of threads", s)
	}
	return n, nil
}

// simulated is the compute capability of the GPU that sim, sim:80 or sim:90 stands for:
// kernels have one text for Ampere and later, some another one for Hopper.
func simulated(want string) (int, error) {
	switch want {
	case "sim", "sim:80":
		return 80, nil
	case "sim:90":
		return 90, nil
	}
	return 0, fmt.Errorf("--device %s: the interpreter runs the kernels of sm_80 (sim or sim:80) or of sm_90a (sim:90)", want)
}

// openCUDA opens the GPU that cuda or cuda:N names.
func openCUDA(want string, log *slog.Logger) (driver.Device, error) {
	ordinal := 0
	if _, s, ok := strings.Cut(want, ":"); ok {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("--device %s: GPUs are numbered cuda:0, cuda:1, …", want)
		}
		ordinal = n
	}
	dev, err := cuda.Open(ordinal)
	if err != nil {
		return nil, fmt.Errorf("--device %s: %w; --device cpu needs none", want, err)
	}
	log.Info("device", "device", want, "name", dev.Attributes().Name)
	return dev, nil
}

// CloseDevice gives the device back at the end of a run. What the device answered to a
// launch, which kernels panic with as they return no errors, becomes the run's error.
func CloseDevice(dev driver.Device, err *error) {
	if r := recover(); r != nil {
		fault, ok := r.(*ptx.Error)
		if !ok {
			panic(r)
		}
		*err = fault
	}
	*err = errors.Join(*err, dev.Close())
}
