// Command kbench times every kernel at the shapes that training and selecting meet, and
// holds each against its floor: the operations and bytes that cannot be done without,
// at the rates that this device reaches with nothing in the way (kernels/peak).
//
//	kbench --device cuda --csv k.csv --json k.json     a GPU; needs a build with the tag cuda
//	kbench --device cpu --run 'gemm|norm'              the host twins
//	kbench --device sim --run norm                     tiny shapes, interpreted: exact counts instead of times
//	kbench --device cuda --check --budget 540s         256 entries of every output against float64; what is
//	                                                   worth most first, in processes of their own, until the time is up
//	kbench --device cuda --step llama3-8b --vary       whole LoRA steps of random weights: tokens a second, memory,
//	                                                   launches, each kernel's share; --select: a LESS pass
//	kbench --list                                      the cases, without running them
//	kbench --device cuda --query                       what the device is, and no more
//	kbench --device cuda --ptx DIR                     what the driver's compiler makes of every *.ptx there
//
// Flags may have one dash.
//
// A time on a GPU is the device's own, between events. Before each repeat a buffer larger
// than the last-level cache is written, so that every operand comes from memory; operands
// are normal numbers. Medians count; the first call, which loads and compiles, is told apart.
// On a Hopper GPU --generations times the sm_80 kernels beside the sm_90a ones, and products
// without clusters, launch by launch in turn.
//
// With a budget, cases run in another process. One that does not come back within its limit
// ends that process, and its family of kernels is not tried again; one that fails costs
// itself alone. Where python3 has a torch that sees the device, the last part of the budget
// goes to the same shapes there.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/selftest"
	"dataflex.dev/dataflex/tools/dashes"
)

// version is set when the program is built.
var version = "unknown"

// options are the flags.
type options struct {
	device, run, csv, json, ptx string
	quick, tiny, list, query    bool
	check, generations          bool
	budget, limit               time.Duration
	part, probe                 bool
	step, tokens                string
	vary, choose                bool
}

func main() {
	var o options
	pflag.StringVar(&o.device, "device", "cpu", "cuda, cpu or sim")
	pflag.StringVar(&o.run, "run", "", "only the cases whose name matches this regular expression")
	pflag.StringVar(&o.csv, "csv", "", "write a row a case to this file")
	pflag.StringVar(&o.json, "json", "", "write the whole report to this file")
	pflag.BoolVar(&o.quick, "quick", false, "few repeats")
	pflag.BoolVar(&o.tiny, "tiny", false, "the interpreter's shapes on any device: to try kbench itself")
	pflag.BoolVar(&o.query, "query", false, "tell what the device is, and stop")
	pflag.StringVar(&o.ptx, "ptx", "", "load every *.ptx of this folder, tell registers, memory and spills, and stop")
	pflag.BoolVar(&o.check, "check", false, "compare 256 random entries of every output with float64 on the host")
	pflag.BoolVar(&o.generations, "generations", false, "on a Hopper GPU, time the sm_80 kernels and those without clusters, too")
	pflag.DurationVar(&o.budget, "budget", 0, "stop after that long; cases run in other processes, what is worth most first")
	pflag.DurationVar(&o.limit, "limit", 20*time.Second, "with a budget: how long one case may take, and twice that the first of a process")
	pflag.BoolVar(&o.part, "part", false, "with a budget, what the other processes are: they stop at the first case that fails")
	pflag.BoolVar(&o.probe, "probe", false, "run every kernel once on a few hundred numbers, compare with the host, and stop; with a budget and --check, what runs first")
	pflag.StringVar(&o.step, "step", "", "time whole LoRA steps of these models, comma-separated: llama3-8b, qwen2.5-7b, smollm2-135m, tiny")
	pflag.StringVar(&o.tokens, "tokens", "512,2048,8192", "with --step: tokens of a step, one sequence")
	pflag.BoolVar(&o.vary, "vary", false, "with --step: steps of half as many tokens to all of them")
	pflag.BoolVar(&o.choose, "select", false, "with --step: time LESS's pass over rows, too")
	pflag.BoolVar(&o.list, "list", false, "list the cases")
	dashes.Parse()
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kbench:", err)
		os.Exit(1)
	}
}

// run measures what was asked for. Cases that fail are in the report, and an error in the
// end.
func run(o options, w io.Writer) error {
	only, err := regexp.Compile(o.run)
	if err != nil {
		return err
	}
	cases, err := selected(o.device, o.tiny, only)
	if err != nil {
		return err
	}
	if o.list {
		for _, c := range cases {
			fmt.Fprintf(w, "%-60s %10.3g operations %10.3g bytes\n", c.Name(), c.Floor.Ops, c.Floor.Bytes)
		}
		return nil
	}
	if o.step != "" {
		return runSteps(o, w)
	}
	if o.budget > 0 {
		report, err := budgeted(o, cases, w)
		if err != nil {
			return err
		}
		return errors.Join(report.failures(), report.write(o.csv, o.json))
	}
	dev, err := open(o.device)
	if err != nil {
		return err
	}
	report := describe(dev)
	switch {
	case o.query:
		fmt.Fprintf(w, "%s, compute capability %d, %d multiprocessors, %d MiB\n", report.Device, report.Capability, report.Units, report.Memory>>20)
	case o.probe:
		err = probed(dev, w)
	case o.ptx != "":
		report.Kernels, err = compiled(dev, o.ptx, w)
	default:
		b := newBench(dev, o.quick, o.tiny)
		b.check = o.check
		if o.generations {
			b.compareGenerations()
		}
		if dev.Kind() != driver.Sim {
			report.Ceilings = b.ceilings()
		}
		err = errors.Join(report.fill(b, cases, o, w), report.failures())
	}
	return errors.Join(err, report.write(o.csv, o.json), dev.Close())
}

// probed runs the self-test: whether the device reads layouts as the interpreter does, before
// anything large is launched.
func probed(dev driver.Device, w io.Writer) error {
	l, ok := dev.(driver.Launcher)
	if !ok {
		return fmt.Errorf("a %v device launches no kernels", dev.Kind())
	}
	start := time.Now()
	if err := selftest.Run(l); err != nil {
		return err
	}
	fmt.Fprintf(w, "every kernel once on a few hundred numbers: as on the host, in %.1f s\n", time.Since(start).Seconds())
	return nil
}

// runSteps times whole steps. It comes after the kernels' own check: what is wrong there is
// no news here.
func runSteps(o options, w io.Writer) error {
	dev, err := open(o.device)
	if err != nil {
		return err
	}
	report, err := steps(dev, o, w)
	if err != nil {
		return errors.Join(err, dev.Close())
	}
	return errors.Join(report.failures(), report.write(o.csv, o.json), dev.Close())
}

// fill measures the cases and relates them to the ceilings. What is known is written after
// every case: the next may be the one that hangs. A part of a whole ends with the first
// case that fails, as nobody knows what it left on the device.
func (r *Report) fill(b *bench, cases []Case, o options, w io.Writer) error {
	for _, c := range cases {
		records := b.measure(c)
		r.Records = append(r.Records, records...)
		if err := r.write("", o.json); err != nil {
			return err
		}
		for _, record := range records { // after the file: a parent reads it when it sees the line
			fmt.Fprintln(w, record.line())
		}
		if o.part && records[0].Error != "" {
			return nil
		}
		if err := b.dev.Synchronize(); err != nil { // what a kernel did to the device lasts
			return err
		}
	}
	if !o.part {
		r.relate()
		r.summary(w)
	}
	return nil
}

// selected lists the cases of a kind of device whose names match.
func selected(device string, tiny bool, only *regexp.Regexp) ([]Case, error) {
	kinds := map[string][]model{"cuda": gpuModels, "cpu": cpuModels, "sim": simModels}
	models, ok := kinds[device]
	if !ok {
		return nil, fmt.Errorf("-device %s: the devices are cuda, cpu and sim", device)
	}
	if tiny {
		models = simModels
	}
	var out []Case
	for _, c := range allCases(models) {
		if only.MatchString(c.Name()) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no case matches %q; -list shows them", only)
	}
	return out, nil
}

func open(device string) (driver.Device, error) {
	switch device {
	case "cuda":
		return cuda.Open(0)
	case "sim":
		return sim.New(sim.Options{Capability: 90}), nil
	}
	return cpu.New(0), nil
}

// today is the date of a report.
func today() string { return time.Now().UTC().Format(time.DateOnly) }
