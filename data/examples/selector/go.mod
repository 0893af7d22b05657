module example.com/longest

go 1.26.0

require dataflex.dev/dataflex v0.2.0

// The checkout that this lies in; without the line, the published module.
replace dataflex.dev/dataflex => ../../..
