// Package tex declares the boxes of a formula.
package tex

// Node is a box.
type Node interface {
	Width() float64
	Height() float64
	Depth() float64
}

// Tree is a box with boxes in it.
type Tree interface{ Node }

// Ship draws boxes.
type Ship struct{}

// Call draws nothing.
func (*Ship) Call(float64, float64, Tree) {}
