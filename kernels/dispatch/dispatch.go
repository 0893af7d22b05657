// Package dispatch chooses what computes a kernel on a device: the host twin or the PTX.
package dispatch

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
)

// Run calls the twin for dev, and nothing on the plan of a CPU. kernel names the contract,
// for a device that has none: that is a programmer's error.
func Run(dev driver.Device, kernel string, host func(*cpu.Device), device func(driver.Launcher)) {
	switch d := dev.(type) {
	case *cpu.Device:
		host(d)
	case *plan.Device:
		if d.Kind() != driver.CPU {
			device(d)
		}
	case driver.Launcher:
		device(d)
	default:
		panic(fmt.Sprintf("%s: no kernel for a %v device", kernel, dev.Kind()))
	}
}
