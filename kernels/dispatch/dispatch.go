// Package dispatch chooses the implementation of a kernel for a device: the host twin or the
// PTX.
package dispatch

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
)

// Run calls the implementation for dev, and does nothing on the plan of a CPU. kernel is the
// name in the panic for a device without one, which is a programmer error.
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
