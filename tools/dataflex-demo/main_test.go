package main

import (
	"context"
	"testing"
)

// TestDemo: LESS finds the family of the evaluation set; demo fails below 80 %.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DATAFLEX_CACHE", dir)
	if err := demo(context.Background(), dir); err != nil {
		t.Fatal(err)
	}
}
