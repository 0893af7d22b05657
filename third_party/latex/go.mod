// In place of the module of this name: gonum.org/v1/plot imports it for titles in TeX, of which
// no chart here has any, and every program would carry its four fonts, 0.6 MB, and parse them
// when it starts. What is declared is what that package compiles with.
module codeberg.org/go-latex/latex

go 1.26.0

require golang.org/x/image v0.30.0

require golang.org/x/text v0.43.0 // indirect
