package optest

import "testing"

// GFLOPS reports a benchmark's rate from the operations of one call.
func GFLOPS(b *testing.B, flops float64) {
	b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

// GBs reports a benchmark's rate from the bytes that a call must move at least.
func GBs(b *testing.B, bytes float64) {
	b.ReportMetric(bytes*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
}
