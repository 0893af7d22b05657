package checkpoint

import (
	"errors"
	"fmt"
	"math"
)

// Finite returns an error that names a tensor of a folder's weights with a NaN or Inf; nil
// if there is none. Tensors that are not floats are skipped.
func Finite(dir string) (err error) {
	w, err := OpenWeights(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, name := range w.Names() {
		shape, _ := w.Shape(name)
		n := 1
		for _, d := range shape {
			n *= d
		}
		x := make([]float32, n)
		if w.ReadFloat32(name, x) != nil {
			continue
		}
		for i, v := range x {
			if v := float64(v); math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("%s: tensor %q holds %v (element %d): the file is damaged or its training diverged", w.Path(name), name, v, i)
			}
		}
	}
	return nil
}
