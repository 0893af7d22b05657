// Package liberationserifitalic has the Go font under the name that gonum.org/v1/plot imports.
package liberationserifitalic

import "golang.org/x/image/font/gofont/goregular"

// TTF is the font file.
var TTF = goregular.TTF
