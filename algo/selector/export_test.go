package selector

import (
	"testing"

	"dataflex.dev/dataflex/algo"
)

// RunForTest is a run with a model, for tests from outside.
func RunForTest(t *testing.T) *algo.Run {
	t.Helper()
	return whole(t, rows(50, 5, 1), rows(4, 1, 2))
}
