package train

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/launch"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/ptx"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/model/decoder"
)

// openDevice opens the device that a run requests.
func openDevice(c *config.Config, o Options) (driver.Device, error) {
	if o.Device == "" && c.Training.UseCPU {
		return openCPU("use_cpu is set", o.Place, o.Log)
	}
	if o.Device == "" || o.Device == "auto" {
		lacks := decoder.HostOnly(c.Model.NameOrPath)
		if o.Place.Several() {
			return openShared(lacks, o.Place, o.Log)
		}
		return openAuto(lacks, o.Log)
	}
	return openAt(o.Device, o.Place, o.Log)
}

// openCPU opens the CPU, or a rank's share of it, and logs why it is not a GPU.
func openCPU(why string, place launch.Place, log *slog.Logger) (driver.Device, error) {
	threads, err := threads(place, log)
	if err != nil {
		return nil, err
	}
	dev := cpu.New(threads)
	log.Info("device", "device", "cpu", "threads", dev.Threads(), "instruction_set", simd.Level(), "no_gpu", why)
	return dev, nil
}

// absent is returned by noGPU if there is no device node.
const absent = "there is no NVIDIA device here"

// noGPU is the reason why a run that names no device uses the CPU, as far as the system's
// files show.
func noGPU() string {
	for _, node := range []string{"/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"} { // the last is that of Windows Subsystem for Linux
		switch _, err := os.Stat(node); {
		case err != nil:
		case cuda.Built:
			return node + " is there"
		default:
			return node + " exists, but this build cannot use it"
		}
	}
	return absent
}

// OpenDevice opens the device that --device names; "" is auto, a GPU that passes its
// self-test, or else the CPU. There is no silent fallback: the log gives the reason for the
// CPU, and requesting a GPU without one is an error. CloseDevice closes it.
func OpenDevice(want string, log *slog.Logger) (driver.Device, error) {
	return openAt(want, launch.Alone, log)
}

// openAt is OpenDevice for one of several ranks of a machine, which share its processors and
// have a GPU each.
func openAt(want string, place launch.Place, log *slog.Logger) (driver.Device, error) {
	threads, err := threads(place, log)
	if err != nil {
		return nil, err
	}
	switch {
	case want == "cpu":
		return openCPU("--device cpu", place, log)
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
	case want == "cuda" && place.Several():
		return openCUDA(fmt.Sprint("cuda:", ownGPU(place)), log)
	case want == "cuda", strings.HasPrefix(want, "cuda:"):
		return openCUDA(want, log)
	}
	return nil, fmt.Errorf("--device %s: the devices are auto, cpu, cuda, cuda:N, sim and sim:90", want)
}

// openShared is auto for one of several ranks: its own GPU if this build can use the
// machine's and has kernels for everything that the model needs, otherwise its share of the
// CPU. A GPU that does not pass its self-test is an error, because the other ranks use
// theirs.
func openShared(lacks string, place launch.Place, log *slog.Logger) (driver.Device, error) {
	if lacks != "" {
		return openCPU("the model needs "+lacks+", for which a GPU has no kernels here", place, log)
	}
	if n, err := cuda.Available(); !cuda.Built || err != nil || n == 0 {
		return openCPU(noGPU(), place, log)
	}
	gpu, err := openCUDA(fmt.Sprint("cuda:", ownGPU(place)), log)
	if err != nil {
		return nil, err
	}
	launcher, ok := gpu.(driver.Launcher)
	if !ok {
		return gpu, nil
	}
	if _, err := prove(launcher, provenDir(), log); err != nil {
		return nil, errors.Join(fmt.Errorf("%s does not pass its self-test (--device cuda uses it nevertheless): %w", gpu.Attributes().Name, err), gpu.Close())
	}
	return gpu, nil
}

// ownGPU is the number of a rank's GPU: its index among the ranks of the machine, or 0 if
// the launcher shows each of them only its own GPU.
func ownGPU(place launch.Place) int {
	if n, err := cuda.Available(); err == nil && n == 1 && place.LocalSize != 1 {
		return 0
	}
	return max(0, place.Local)
}

// threads is OMP_NUM_THREADS, or else a rank's share of the machine's processors; 0 = all of
// them. torchrun sets OMP_NUM_THREADS to 1 unless the user sets it.
func threads(place launch.Place, log *slog.Logger) (int, error) {
	s := os.Getenv("OMP_NUM_THREADS")
	if s == "1" && os.Getenv("TORCHELASTIC_RUN_ID") != "" {
		s = ""
	}
	if s == "" {
		mine, all := runtime.NumCPU(), online()
		switch {
		case place.LocalSize <= 1:
			return 0, nil
		case mine < all: // the launcher has already distributed them
			log.Warn("the launcher binds this rank to some of the machine's processors: mpirun --bind-to none lets the ranks share all of them", "processors", mine, "of", all)
			return 0, nil
		}
		return max(1, mine/place.LocalSize), nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("OMP_NUM_THREADS=%q is not a number of threads", s)
	}
	return n, nil
}

// online is the number of processors of the machine; NumCPU counts those that this process
// may use.
func online() int {
	raw, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return runtime.NumCPU()
	}
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(string(raw)), ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		first, err1 := strconv.Atoi(lo)
		last, err2 := strconv.Atoi(hi)
		if err1 != nil || err2 != nil {
			return runtime.NumCPU()
		}
		n += last - first + 1
	}
	return n
}

// simulated is the compute capability of the GPU that sim, sim:80 or sim:90 stands for:
// kernels have one PTX text for Ampere and later, some have another one for Hopper.
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

// CloseDevice closes the device at the end of a run. The error of a failed launch, with
// which kernels panic because they return no errors, becomes the run's error.
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
