package train

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/treesum"
	"dataflex.dev/dataflex/model/optim"
	"dataflex.dev/dataflex/model/tensor"
)

// shares are the parts of the parameters that each process of a run updates, as
// treesum.Shares divides them. A process has the sum of the gradients of its parts and keeps
// their optimizer state; after an update it sends its weights to the others.
type shares struct {
	cut   *treesum.Shares
	order map[*tensor.Param]int // index of each parameter
	parts [][]optim.Part        // this process's, of every parameter
}

// newShares divides the parameters among the processes; what lies between two of ends is
// added up by itself.
func newShares(params []*tensor.Param, processes, rank int, ends ...int) *shares {
	lengths := make([]int, len(params))
	s := &shares{order: map[*tensor.Param]int{}, parts: make([][]optim.Part, len(params))}
	for i, p := range params {
		lengths[i], s.order[p] = p.Size(), i
	}
	s.cut = treesum.NewShares(lengths, processes, ends...)
	for _, part := range s.cut.Of(rank) {
		p := params[part.Vector]
		view := &tensor.Param{Name: fmt.Sprintf("%s[%d:%d]", p.Name, part.From, part.To), Shape: []int{part.To - part.From}}
		view.View(p, part.From)
		s.parts[part.Vector] = append(s.parts[part.Vector], optim.Part{From: part.From, View: view})
	}
	return s
}

// own returns a tensor for each of this process's parts, in order.
func (s *shares) own(of func(*tensor.Param) driver.F32) (out []driver.F32) {
	for _, parts := range s.parts {
		for _, part := range parts {
			out = append(out, of(part.View))
		}
	}
	return out
}
