package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"dataflex.dev/dataflex/driver"
)

// Kernel is what the driver's compiler made of one.
type Kernel struct {
	Name      string  `json:"name"`
	File      string  `json:"file"`
	Registers int     `json:"registers"`
	Shared    int     `json:"static_shared_bytes"`
	Local     int     `json:"local_bytes"` // not 0: it spills
	Threads   int     `json:"max_threads"`
	Load      float64 `json:"module_load_s"` // of the whole file; compiling, unless the driver had it cached
}

var entry = regexp.MustCompile(`\.entry\s+([\w$]+)`)

// compiled loads every PTX file of a folder that the device can run. Spills, and what the
// compiler refuses, are errors.
func compiled(dev driver.Device, dir string, w io.Writer) ([]Kernel, error) {
	l, ok := dev.(driver.Launcher)
	if !ok {
		return nil, fmt.Errorf("a %v device takes no PTX", dev.Kind())
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.ptx"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("no *.ptx in %s", dir))
	}
	var out []Kernel
	var errs []error
	for _, f := range files {
		if strings.Contains(f, ".sm90a.") && dev.Attributes().Capability != 90 {
			continue
		}
		kernels, err := module(l, f)
		errs = append(errs, err)
		for _, k := range kernels {
			fmt.Fprintf(w, "%-48s %-28s %4d registers %7d B shared %5d B local %5d threads\n", k.Name, k.File, k.Registers, k.Shared, k.Local, k.Threads)
			if k.Local > 0 {
				errs = append(errs, fmt.Errorf("%s: %s has %d bytes of local memory", k.File, k.Name, k.Local))
			}
		}
		out = append(out, kernels...)
	}
	return out, errors.Join(errs...)
}

func module(dev driver.Launcher, file string) ([]Kernel, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	m, err := dev.LoadModule(filepath.Base(file), text)
	if err != nil {
		return nil, err
	}
	load := time.Since(start).Seconds()
	var out []Kernel
	for _, e := range entry.FindAllSubmatch(text, -1) {
		f, err := m.Function(string(e[1]))
		if err != nil {
			return out, err
		}
		a := f.Attributes()
		out = append(out, Kernel{
			Name: f.Name(), File: filepath.Base(file), Registers: a.Registers, Shared: a.SharedBytes, Local: a.LocalBytes,
			Threads: a.MaxThreads, Load: load,
		})
	}
	return out, m.Unload()
}
