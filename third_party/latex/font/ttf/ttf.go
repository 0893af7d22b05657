// Package ttf declares the fonts that gonum.org/v1/plot hands over.
package ttf

import (
	"golang.org/x/image/font/sfnt"

	"codeberg.org/go-latex/latex/drawtex"
)

// Fonts are the fonts of a formula.
type Fonts struct{ Default, Rm, It, Bf, BfIt *sfnt.Font }

// Backend is empty.
type Backend struct{}

// NewFrom returns a backend.
func NewFrom(*drawtex.Canvas, *Fonts) *Backend { return &Backend{} }
