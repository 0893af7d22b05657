// Package drawtex declares the drawing that gonum.org/v1/plot reads; nothing is ever drawn.
package drawtex

import "golang.org/x/image/font/sfnt"

// Canvas is empty.
type Canvas struct{}

// New returns a canvas.
func New() *Canvas { return &Canvas{} }

// Ops are none.
func (*Canvas) Ops() []any { return nil }

// Glyph is a character of a font.
type Glyph struct {
	Font   *sfnt.Font
	Size   float64
	Symbol string
}

// GlyphOp draws a glyph.
type GlyphOp struct {
	X, Y  float64
	Glyph Glyph
}

// RectOp fills a rectangle.
type RectOp struct{ X1, Y1, X2, Y2 float64 }
