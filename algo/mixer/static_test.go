package mixer

import (
	"context"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
)

func staticShares(t *testing.T, params ...string) []float64 {
	t.Helper()
	_, domains := rows(4)
	got, err := mustBuild(t, &algo.Run{Log: algotest.Quiet}, domains, "static", "faithful", params...).Mix(context.Background(), algo.MixRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return got.Proportions
}

func TestStatic(t *testing.T) {
	algotest.Near(t, "given", staticShares(t, "proportions: [3, 1]"), []float64{0.75, 0.25}, 1e-15)
	algotest.Near(t, "null", staticShares(t, "proportions: null"), []float64{0.5, 0.5}, 1e-15)
	_, domains := rows(4)
	if _, err := build(t, &algo.Run{Log: algotest.Quiet}, domains, "static", "upstream", "proportions: [1]"); err == nil || !strings.Contains(err.Error(), "1 shares for 2 domains") {
		t.Error(err)
	}
}
