// Package tensor holds what the layers of the model share: parameters.
package tensor

import "dataflex/driver"

// Param is one trainable tensor: row-major float32 on a device.
type Param struct {
	Name  string     // as the checkpoint spells it
	Shape []int      // row-major
	Data  driver.F32 // the weights
	Grad  driver.F32 // the accumulated gradient, the length of Data
}

// Size is the number of elements.
func (p *Param) Size() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}
