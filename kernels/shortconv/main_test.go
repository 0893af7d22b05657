package shortconv_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
)

func TestMain(m *testing.M) { optest.Main(m) }
