package pool

import "dataflex.dev/dataflex/driver/cpu"

func meanCPU(c *cpu.Device, x []float32, segments []int32, out []float32, d int) {
	c.Parallel(len(segments)-1, func(i int) {
		sum := make([]float64, d)
		for t := int(segments[i]); t < int(segments[i+1]); t++ {
			for j, v := range x[t*d : (t+1)*d] {
				sum[j] += float64(v)
			}
		}
		rows := float64(segments[i+1] - segments[i])
		for j, v := range sum {
			out[i*d+j] = float32(v / rows)
		}
	})
}

func lastCPU(x []float32, segments []int32, out []float32, d int) {
	for i, end := range segments[1:] {
		copy(out[i*d:(i+1)*d], x[int(end-1)*d:])
	}
}
