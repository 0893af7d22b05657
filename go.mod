module dataflex.dev/dataflex

go 1.26.0

require (
	github.com/andybalholm/brotli v1.1.1
	github.com/clipperhouse/uax29/v2 v2.7.0
	github.com/go-json-experiment/json v1.27.2
	github.com/google/go-cmp v0.7.0
	github.com/klauspost/compress v1.20.3
	github.com/lmittmann/tint v1.2.1
	github.com/mmcloughlin/avo v0.6.0
	github.com/parquet-go/parquet-go v0.32.0
	github.com/spf13/cobra v1.10.2
	github.com/spf13/pflag v1.0.10
	go.yaml.in/yaml/v3 v3.0.6
	golang.org/x/image v0.30.0
	golang.org/x/sync v0.24.0
	golang.org/x/sys v0.50.0
	golang.org/x/term v0.48.0
	golang.org/x/text v0.43.0
	gonum.org/v1/plot v0.17.0
	gorgonia.org/cu v0.9.6
)

require (
	codeberg.org/go-fonts/liberation v0.5.0 // indirect
	codeberg.org/go-latex/latex v0.2.0 // indirect
	codeberg.org/go-pdf/fpdf v0.11.1 // indirect
	git.sr.ht/~sbinet/gg v0.7.0 // indirect
	github.com/ajstarks/svgo v0.0.0-20211024235047-1546f124cd8b // indirect
	github.com/golang/freetype v0.0.0-20170609003504-e2365dfdc4a0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/parquet-go/bitpack v1.0.0 // indirect
	github.com/parquet-go/jsonlite v1.0.0 // indirect
	github.com/pierrec/lz4/v4 v4.1.21 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	github.com/twpayne/go-geom v1.6.1 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

// What gorgonia.org/cu's go.mod asks for and its root package does not import:
// without these lines 88 modules that nothing here compiles join the build list.
exclude (
	github.com/cloudflare/cfssl v0.0.0-20190808011637-b1ec8c586c2a
	github.com/cznic/cc v0.0.0-20181122101902-d673e9b70d4d
	github.com/gonum/blas v0.0.0-20181208220705-f22b278b28ac
	github.com/gorgonia/bindgen v0.0.0-20210223094355-432cd89e7765
	github.com/kr/pretty v0.1.0
	github.com/stretchr/testify v1.6.1
	gonum.org/v1/gonum v0.8.2
	gorgonia.org/gorgonia v0.9.17
	gorgonia.org/tensor v0.9.20
	modernc.org/cc v1.0.1
	modernc.org/xc v1.0.0
)

replace (
	codeberg.org/go-fonts/liberation => ./third_party/liberation
	codeberg.org/go-latex/latex => ./third_party/latex
	google.golang.org/protobuf => ./third_party/protobuf
)
