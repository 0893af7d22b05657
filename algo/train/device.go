package train

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"dataflex/algo/config"
	"dataflex/driver"
	"dataflex/driver/cpu"
	"dataflex/driver/cuda"
	"dataflex/driver/sim"
	"dataflex/kernels/ptx"
)

// openDevice finds the device that was asked for. There is no silent fallback:
// asking for a GPU where there is none is an error.
func openDevice(c *config.Config, o Options) (driver.Device, error) {
	want := o.Device
	if want == "" {
		want = "auto"
		if c.Training.UseCPU {
			want = "cpu"
		}
	}
	threads := 0
	if s := os.Getenv("OMP_NUM_THREADS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("OMP_NUM_THREADS=%q is not a number of threads", s)
		}
		threads = n
	}
	switch {
	case want == "cpu":
	case want == "auto":
		want = "cpu (a GPU is used where --device asks for it)"
	case want == "sim", strings.HasPrefix(want, "sim:"):
		capability, err := simulated(want)
		if err != nil {
			return nil, err
		}
		dev := sim.New(sim.Options{Workers: threads, Capability: capability})
		o.Log.Info("device", "device", want, "name", dev.Attributes().Name, "threads", dev.Attributes().Units)
		return dev, nil
	case want == "cuda", strings.HasPrefix(want, "cuda:"):
		return openCUDA(want, o)
	default:
		return nil, fmt.Errorf("--device %s: the devices are auto, cpu, cuda, cuda:N, sim and sim:90", want)
	}
	dev := cpu.New(threads)
	o.Log.Info("device", "device", want, "threads", dev.Threads())
	return dev, nil
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

// precision says what is computed in which precision.
func (t *Trainer) precision() string {
	switch {
	case t.model.BF16():
		return "bf16 on tensor cores: matrices and the operands of products; float32: sums, activations, norms, adapters, trained weights, the optimizer"
	case t.Config.Training.BF16 || t.Config.Tuning.PureBF16:
		return fmt.Sprintf("float32: %s has no tensor cores for bf16", t.device.Kind())
	}
	return "float32"
}

// openCUDA opens the GPU that cuda or cuda:N names.
func openCUDA(want string, o Options) (driver.Device, error) {
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
	o.Log.Info("device", "device", want, "name", dev.Attributes().Name)
	return dev, nil
}

// closeDevice gives the device back at the end of a run. What the device answered to a
// launch, which kernels panic with as they return no errors, becomes the run's error.
func closeDevice(dev driver.Device, err *error) {
	if r := recover(); r != nil {
		fault, ok := r.(*ptx.Error)
		if !ok {
			panic(r)
		}
		*err = fault
	}
	if l, ok := dev.(driver.Launcher); ok {
		ptx.Forget(l)
	}
	*err = errors.Join(*err, dev.Close())
}
