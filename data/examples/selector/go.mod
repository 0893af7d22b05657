module example.com/longest

go 1.26.0

require dataflex.dev/dataflex v0.2.0

// The checkout that this lies in, and what its charts use in place of fonts; without the lines, the published modules.
replace (
	codeberg.org/go-fonts/liberation => ../../../third_party/liberation
	codeberg.org/go-latex/latex => ../../../third_party/latex
	google.golang.org/protobuf => ../../../third_party/protobuf
	dataflex.dev/dataflex => ../../..
)
