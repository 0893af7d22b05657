package optest

// LayerNorm returns y [T, d] and the mean and the 1/deviation of every row, one after the
// other. w and b are [groups, d], or nil: 1 and 0; row t uses row t mod groups.
func LayerNorm[F Float](x, w, b []F, groups, d int, eps F) (y, moments []F) {
	y = make([]F, len(x))
	for t := range len(x) / d {
		var mean, variance F
		for _, v := range x[t*d : (t+1)*d] {
			mean += v
		}
		mean /= F(d)
		for _, v := range x[t*d : (t+1)*d] {
			variance += (v - mean) * (v - mean)
		}
		r := 1 / sqrt(variance/F(d)+eps)
		moments = append(moments, mean, r)
		for j := range d {
			v := (x[t*d+j] - mean) * r
			if w != nil {
				v *= w[t%groups*d+j]
			}
			if b != nil {
				v += b[t%groups*d+j]
			}
			y[t*d+j] = v
		}
	}
	return y, moments
}

// LayerNormGrad returns the gradients of x, w and b; those of w and b are computed even if
// these are nil.
func LayerNormGrad[F Float](dy, x, w []F, groups, d int, eps F) (dx, dw, db []F) {
	_, moments := LayerNorm(x, nil, nil, groups, d, eps)
	dx, dw, db = make([]F, len(x)), make([]F, groups*d), make([]F, groups*d)
	n, g := make([]F, d), make([]F, d)
	for t := range len(x) / d {
		var sum, dot F
		for j := range d {
			at := t%groups*d + j
			n[j], g[j] = (x[t*d+j]-moments[2*t])*moments[2*t+1], dy[t*d+j]
			dw[at] += g[j] * n[j]
			db[at] += g[j]
			if w != nil {
				g[j] *= w[at]
			}
			sum += g[j]
			dot += g[j] * n[j]
		}
		for j := range d {
			dx[t*d+j] = moments[2*t+1] * (g[j] - sum/F(d) - n[j]*(dot/F(d)))
		}
	}
	return dx, dw, db
}
