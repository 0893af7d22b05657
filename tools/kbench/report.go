package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/sim"
)

// Report is what one run of kbench says.
type Report struct {
	Date       string       `json:"date"`
	Version    string       `json:"version"`
	Device     string       `json:"device"`
	Kind       string       `json:"kind"`
	Capability int          `json:"capability"`
	Units      int          `json:"units"`
	Memory     uint64       `json:"memory_bytes"`
	Driver     int          `json:"driver_cuda,omitempty"` // 1000·major + 10·minor
	ClockKHz   int          `json:"clock_khz,omitempty"`
	L2         int          `json:"l2_bytes,omitempty"`
	Ceilings   Ceilings     `json:"ceilings"`
	Torch      string       `json:"torch,omitempty"`    // its version
	Probe      string       `json:"probe,omitempty"`    // of every kernel on a few hundred numbers: ok, or what was wrong
	NoTorch    string       `json:"no_torch,omitempty"` // why it was not asked
	Records    []Record     `json:"records"`
	Steps      []StepRecord `json:"steps,omitempty"`
	Kernels    []Kernel     `json:"kernels,omitempty"`
}

// Record is one case. Seconds and rates are 0 on the interpreter, counts elsewhere.
type Record struct {
	Name string `json:"name"`
	// Variant is the kernel's generation, where it is not the device's own.
	Variant string         `json:"variant,omitempty"`
	Op      string         `json:"op"`
	Type    string         `json:"type"`
	Model   string         `json:"model"`
	Dims    map[string]int `json:"dims"`
	Ops     float64        `json:"floor_operations"`
	Unit    string         `json:"floor_unit"`
	Bytes   float64        `json:"floor_bytes"`

	First   float64 `json:"first_s"` // the first call: loading and compiling too
	Median  float64 `json:"median_s"`
	Least   float64 `json:"min_s"`
	Repeats int     `json:"repeats"`
	TFLOPs  float64 `json:"tflop_s"`
	GBs     float64 `json:"gb_s"`
	Share   float64 `json:"share"` // time of the floor at the ceilings / median
	Bound   string  `json:"bound"` // what the floor's time comes from: memory, tensor, multiply

	Counts *Counts `json:"counts,omitempty"`
	// PyTorch's median for the same, how it was asked, and why it failed.
	Torch      float64 `json:"torch_s,omitempty"`
	TorchHow   string  `json:"torch_how,omitempty"`
	TorchError string  `json:"torch_error,omitempty"`

	Check string `json:"check,omitempty"` // of entries against float64: ok, or BAD and the worst
	Error string `json:"error,omitempty"`
}

// Counts are the interpreter's, of all launches of the call.
type Counts struct {
	Launches  uint64  `json:"launches"`
	Flops     uint64  `json:"flops"`
	Bytes     uint64  `json:"global_bytes"`
	Sectors   uint64  `json:"sectors"`
	Ideal     uint64  `json:"ideal_sectors"`
	Conflicts uint64  `json:"bank_conflicts"`
	Warps     uint64  `json:"warp_instructions"`
	Excess    float64 `json:"bytes_over_floor"` // Bytes / floor
}

func newRecord(c Case) Record {
	r := Record{Name: c.Name(), Op: c.Op, Type: c.Type, Model: c.Model, Ops: c.Floor.Ops, Unit: c.Floor.Unit, Bytes: c.Floor.Bytes, Dims: map[string]int{}}
	for _, d := range c.Dims {
		r.Dims[d.Name] = d.N
	}
	return r
}

// count adds up what the interpreter saw.
func (r *Record) count(totals []*sim.Counters) {
	c := &Counts{}
	for _, t := range totals {
		c.Launches += t.Launches
		c.Flops += t.Flops
		c.Bytes += t.GlobalBytes()
		c.Sectors += t.Global.Units
		c.Ideal += t.Global.Ideal
		c.Conflicts += t.Conflicts()
		c.Warps += t.Warps
	}
	c.Excess = float64(c.Bytes) / r.Bytes
	r.Counts = c
}

// describe begins a report with what the device is.
func describe(dev driver.Device) *Report {
	a := dev.Attributes()
	r := &Report{
		Date: today(), Version: version, Device: a.Name, Kind: dev.Kind().String(), Capability: a.Capability,
		Units: a.Units, Memory: a.MemoryBytes,
	}
	if d, ok := dev.(cuda.Describer); ok {
		p := d.Properties()
		r.Driver, r.ClockKHz, r.L2 = p.DriverVersion, p.ClockKHz, p.L2Bytes
	}
	return r
}

// relate derives rates and shares, once all of them are known: a ceiling is the rate of
// the kernels made for it or the best that any case reached, whichever is higher.
func (r *Report) relate() {
	c := &r.Ceilings
	for i := range r.Records {
		k := &r.Records[i]
		if k.Median == 0 {
			continue
		}
		k.TFLOPs, k.GBs = k.Ops/k.Median/1e12, k.Bytes/k.Median/1e9
		switch {
		case k.Unit == tensor && r.Kind != "cuda": // a host has no tensor cores
			k.Unit = multiply
			fallthrough
		case k.Unit == multiply:
			c.Multiply = max(c.Multiply, k.Ops/k.Least/1e12)
		case k.Unit == tensor:
			c.Tensor = max(c.Tensor, k.Ops/k.Least/1e12)
		}
	}
	for i := range r.Records {
		k := &r.Records[i]
		if k.Median == 0 {
			continue
		}
		compute := c.Multiply
		if k.Unit == tensor {
			compute = c.Tensor
		}
		memory := k.Bytes / (c.Copy * 1e9)
		floor := memory
		k.Bound = "memory"
		if t := k.Ops / (compute * 1e12); k.Ops > 0 && t > memory {
			floor, k.Bound = t, k.Unit
		}
		k.Share = floor / k.Median
	}
}

// line is a record for reading, before the ceilings are known.
func (r Record) line() string {
	switch c := r.Counts; {
	case r.Error != "":
		first, _, _ := strings.Cut(r.Error, "\n")
		return fmt.Sprintf("%-64s %s", r.Name, first)
	case c != nil:
		return fmt.Sprintf("%-64s %s%d launches, %d warp instructions, %.2fx the floor's bytes, sectors %d of %d, %d bank conflicts",
			r.Name, r.verdict(), c.Launches, c.Warps, c.Excess, c.Sectors, c.Ideal, c.Conflicts)
	}
	return fmt.Sprintf("%-64s %s%9.3f ms %9.2f TFLOP/s %8.1f GB/s", r.Name, r.verdict(), 1e3*r.Median, r.Ops/r.Median/1e12, r.Bytes/r.Median/1e9)
}

// verdict is ok, or BAD and the worst entry; "" where nothing was compared.
func (r Record) verdict() string {
	if r.Check == "" {
		return ""
	}
	return r.Check + " "
}

// summary is the table: what each case should be, takes and reaches, and beside torch.
func (r *Report) summary(w io.Writer) {
	if r.Kind == "sim" {
		return
	}
	c := r.Ceilings
	fmt.Fprintf(w, "\n%s: copies %.0f GB/s, multiply-adds %.2f TFLOP/s", r.Device, c.Copy, c.Multiply)
	if r.Kind == "cuda" {
		fmt.Fprintf(w, ", tensor cores %.1f TFLOP/s, %.2f us a launch", c.Tensor, c.Launch)
	}
	fmt.Fprintln(w)
	switch {
	case r.Torch != "":
		fmt.Fprintf(w, "torch %s\n", r.Torch)
	case r.NoTorch != "":
		fmt.Fprintln(w, r.NoTorch)
	}
	if r.Probe != "" && r.Probe != good {
		fmt.Fprintln(w, r.Probe)
	}
	fmt.Fprintf(w, "\n%-64s %-5s %10s %16s %-22s %s\n", "case", "check", "ms", "rate", "share of the ceiling", "torch's time / ours")
	for _, k := range r.Records {
		fmt.Fprintln(w, k.row())
	}
}

// row is a record in the table.
func (r Record) row() string {
	if r.Error != "" {
		first, _, _ := strings.Cut(r.Error, "\n")
		return fmt.Sprintf("%-64s %s", r.Name, first)
	}
	check, worst, _ := strings.Cut(r.Check, ": ")
	if check == "" {
		check = "-"
	}
	torch := "-"
	switch {
	case r.Torch > 0:
		torch = fmt.Sprintf("%.2f (%s)", r.Torch/r.Median, r.TorchHow)
	case r.TorchError != "":
		torch = r.TorchError
	}
	return strings.TrimRight(fmt.Sprintf("%-64s %-5s %10.3f %16s %-22s %s %s", r.Name, check, 1e3*r.Median, r.rate(), fmt.Sprintf("%.1f %% %s", 100*r.Share, r.Bound), torch, worst), " ")
}

// rate is what a case is bound by.
func (r Record) rate() string {
	if r.Bound == "memory" {
		return fmt.Sprintf("%.1f GB/s", r.GBs)
	}
	return fmt.Sprintf("%.2f TFLOP/s", r.TFLOPs)
}

// failures is an error that counts the cases that failed, and those that are wrong.
func (r *Report) failures() error {
	failed, wrong := 0, 0
	if r.Probe != "" && r.Probe != good {
		wrong++
	}
	for _, k := range r.Records {
		switch {
		case k.Error == notReached:
		case k.Error != "":
			failed++
		case k.Check != "" && k.Check != good:
			wrong++
		}
	}
	for _, s := range r.Steps {
		switch {
		case s.Error != "":
			failed++
		case s.Check != good:
			wrong++
		}
	}
	switch n := len(r.Records) + len(r.Steps); {
	case failed+wrong == 0:
		return nil
	case wrong == 0:
		return fmt.Errorf("%d of %d cases failed", failed, n)
	default:
		return fmt.Errorf("of %d cases %d are wrong and %d failed", n, wrong, failed)
	}
}

// write makes the files that were asked for.
func (r *Report) write(csvPath, jsonPath string) error {
	var errs []error
	if jsonPath != "" {
		b, err := json.MarshalIndent(r, "", " ")
		errs = append(errs, err, os.WriteFile(jsonPath, append(b, '\n'), 0o644))
	}
	if csvPath != "" {
		f, err := os.Create(csvPath)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		w := csv.NewWriter(f)
		errs = append(errs, w.WriteAll(r.rows()), f.Close())
	}
	return errors.Join(errs...)
}

func (r *Report) rows() [][]string {
	g := func(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
	rows := [][]string{{"date", "version", "device", "name", "median_ms", "min_ms", "first_ms", "repeats", "tflop_s", "gb_s", "share", "bound", "global_bytes", "sectors", "ideal_sectors", "bank_conflicts", "torch_ms", "check", "error"}}
	for _, k := range r.Records {
		row := []string{r.Date, r.Version, r.Device, k.Name, g(1e3 * k.Median), g(1e3 * k.Least), g(1e3 * k.First), strconv.Itoa(k.Repeats), g(k.TFLOPs), g(k.GBs), g(k.Share), k.Bound}
		counts := []string{"", "", "", ""}
		if c := k.Counts; c != nil {
			for i, n := range []uint64{c.Bytes, c.Sectors, c.Ideal, c.Conflicts} {
				counts[i] = strconv.FormatUint(n, 10)
			}
		}
		rows = append(rows, append(append(row, counts...), g(1e3*k.Torch), k.Check, k.Error))
	}
	return rows
}
