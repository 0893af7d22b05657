// In place of the module of this name: github.com/parquet-go/parquet-go imports it to write rows
// that are protocol buffers, of which there are none here, and every program would carry 1 MB of
// it. What is declared is what that package compiles with; no value of these types exists.
module google.golang.org/protobuf

go 1.26.0
