package cluster

import (
	"cmp"
	"context"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
)

// Transferability returns, for every cluster of unit rows, the mean cosine of its centre with
// the other centres (COINCIDE, Lee et al., EMNLP 2024, arXiv:2406.10995, equation 5). Centres
// with a cosine above nearest count as the same concept and are left out; with nearest above 1
// none is. A cluster without others has 0.
func Transferability(ctx context.Context, dev driver.Device, v neighbor.Vectors, ids []int, k int, nearest float64) ([]float64, error) {
	centres, _ := means(v, ids, k)
	centres.Normalize()
	out := make([]float64, k)
	placed, release, err := driver.Place(dev, centres.Data, make([]float32, min(chunk, k)*k))
	if err != nil {
		return nil, err
	}
	defer release()
	for first := 0; first < k; first += chunk {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m := min(chunk, k-first)
		products := placed[1].Sub(0, m*k)
		all := gemm.Dense(placed[0], k, v.Dim)
		gemm.Run(dev, gemm.NT, 1, all.Sub(first, first+m), all, 0, gemm.Dense(products, m, k))
		s, err := driver.Read(dev, products)
		if err != nil {
			return nil, err
		}
		for i := range m {
			n := 0
			for j, x := range s[i*k : (i+1)*k] {
				if j != first+i && float64(x) <= nearest {
					out[first+i], n = out[first+i]+float64(x), n+1
				}
			}
			out[first+i] /= float64(max(n, 1))
		}
	}
	return out, nil
}

// Kernel is e^(-scale·|x-y|²) between the rows of a cluster.
type Kernel struct {
	n     int
	value []float32 // [n, n]
}

// NewKernel computes the kernel of unit rows; [n, n] float32.
func NewKernel(dev driver.Device, rows neighbor.Vectors, scale float64) (*Kernel, error) {
	n := rows.N
	placed, release, err := driver.Place(dev, rows.Data, make([]float32, n*n))
	if err != nil {
		return nil, err
	}
	defer release()
	x := gemm.Dense(placed[0], n, rows.Dim)
	gemm.Run(dev, gemm.NT, 1, x, x, 0, gemm.Dense(placed[1], n, n))
	products, err := driver.Read(dev, placed[1])
	if err != nil {
		return nil, err
	}
	k := &Kernel{n: n, value: slices.Clone(products)}
	for i := range n {
		for j := range n {
			cosine := float64(k.value[i*n+j])
			if i == j {
				cosine = 1
			}
			k.value[i*n+j] = float32(math.Exp(-scale * max(0, 2-2*cosine)))
		}
	}
	return k, nil
}

// Density returns the mean of the kernel, which is small for a cluster of diverse rows: over
// all pairs, or without diagonal over pairs of different rows. single is the result for a
// cluster with one row.
func (k *Kernel) Density(diagonal bool, single float64) float64 {
	var sum float64
	for _, x := range k.value {
		sum += float64(x)
	}
	n := float64(k.n)
	switch {
	case diagonal:
		return sum / (n * n)
	case k.n <= 1:
		return single
	}
	return (sum - n) / (n * (n - 1))
}

// Order sorts the rows so that each next one brings the chosen rows closest to the whole
// cluster, by the squared maximum mean discrepancy (equation 8), the first of equal ones. The
// first m rows are the greedy choice of m rows.
func (k *Kernel) Order() []int {
	n := k.n
	total, cross := make([]float64, n), make([]float64, n) // sums of a row's kernel with all rows, and with the chosen ones
	for i := range n {
		for j := range n {
			total[j] += float64(k.value[i*n+j])
		}
	}
	taken := make([]bool, n)
	var order []int
	var within, crossSum float64
	for t := 1; t <= n; t++ {
		best, least := -1, math.Inf(1)
		for j := range n {
			if taken[j] {
				continue
			}
			score := (within+2*cross[j]+float64(k.value[j*n+j]))/float64(t*t) - 2*(crossSum+total[j])/float64(n*t)
			if score < least || best < 0 {
				best, least = j, score
			}
		}
		taken[best], order = true, append(order, best)
		within += 2*cross[best] + float64(k.value[best*n+best])
		crossSum += total[best]
		for i := range n {
			cross[i] += float64(k.value[i*n+best])
		}
	}
	return order
}

// Shares returns softmax(S/(τ·D)): each cluster's share of a selection.
func Shares(transferability, density []float64, temperature float64) []float64 {
	p := make([]float64, len(density))
	for i, d := range density {
		p[i] = transferability[i] / (temperature * max(d, 1e-12))
	}
	most := slices.Max(p)
	var sum float64
	for i, x := range p {
		p[i] = math.Exp(x - most)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// LargestRemainder divides n in proportion to shares, at most room for each cluster. The
// remainder goes to the largest fractions, the first of equal ones first, and what full
// clusters cannot take is divided again among the others. This is DataFlex's method.
func LargestRemainder(shares []float64, n int, room []int) []int {
	out := make([]int, len(shares))
	for rest := n; rest > 0; {
		p := slices.Clone(shares)
		var sum float64
		for i := range p {
			if room[i] == out[i] {
				p[i] = 0
			}
			sum += p[i]
		}
		dealt := 0
		if sum > 0 {
			dealt = remainder(p, sum, rest, room, out)
		}
		if dealt == 0 {
			break
		}
		rest -= dealt
	}
	return out
}

// remainder is one round.
func remainder(p []float64, sum float64, n int, room, out []int) (dealt int) {
	fraction := make([]float64, len(p))
	for i, x := range p {
		target := x / sum * float64(n)
		m := min(int(target), room[i]-out[i])
		fraction[i] = target - math.Floor(target)
		out[i] += m
		dealt += m
	}
	for _, i := range descending(fraction) {
		if dealt == n {
			break
		}
		if room[i] > out[i] {
			out[i]++
			dealt++
		}
	}
	return dealt
}

// InTurn divides n from the largest share down: each cluster gets its share of what is left,
// relative to the remaining shares, rounded, at most room; what full clusters cannot take goes
// to the next. This is the official code's method.
func InTurn(shares []float64, n int, room []int) []int {
	out := make([]int, len(shares))
	order := descending(shares)
	for rest := n; rest > 0; {
		var left float64
		for _, i := range order {
			if room[i] > out[i] {
				left += shares[i]
			}
		}
		before := rest
		for _, i := range order {
			if room[i] == out[i] || rest == 0 {
				continue
			}
			m := rest
			if left > 0 {
				m = int(math.RoundToEven(float64(rest) * min(1, shares[i]/left)))
			}
			m = min(m, room[i]-out[i], rest)
			out[i], rest, left = out[i]+m, rest-m, left-shares[i]
		}
		if rest == before { // nothing is rounded up any more: one to each
			for _, i := range order {
				if room[i] > out[i] && rest > 0 {
					out[i], rest = out[i]+1, rest-1
				}
			}
		}
		if rest == before {
			break // no cluster has room left
		}
	}
	return out
}

// descending is the indices of x from the largest value down, of equals the first.
func descending(x []float64) []int {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[b], x[a]) })
	return order
}
