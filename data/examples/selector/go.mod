module example.com/longest

go 1.26.0

require dataflex.dev/dataflex v0.2.0

// The checkout that this lies in, and the font of its charts; without the lines, the published modules.
replace (
	codeberg.org/go-fonts/liberation => ../../../third_party/liberation
	dataflex.dev/dataflex => ../../..
)
