// Package torchsort orders numbers as torch's CPU operators do, ties included: topk
// through libstdc++'s nth_element, sort and partial_sort, and quantile. Indices chosen
// by upstream depend on it wherever scores are equal.
package torchsort

import (
	"fmt"
	"math/bits"
)

type item struct {
	value float32
	index int
}

// before is torch's comparison for largest=True: NaN first, then descending; the index is not
// compared, so that equal values keep whatever order the algorithms give them.
func before(x, y item) bool {
	if x.value != x.value {
		return y.value == y.value
	}
	return x.value > y.value
}

// TopK returns the indices of torch.topk(values, k) on a CPU: the k largest, in
// descending order, NaN before everything. It panics unless 0 <= k <= len(values).
func TopK(values []float32, k int) []int {
	n := len(values)
	if k < 0 || k > n {
		panic(fmt.Sprintf("torchsort: TopK: k %d of %d values", k, n))
	}
	if k == 0 {
		return []int{}
	}
	queue := make([]item, n)
	for i, v := range values {
		queue[i] = item{v, i}
	}
	if 64*k <= n {
		partialSort(queue, k)
	} else {
		nthElement(queue, k-1)
		introsort(queue[:k-1])
	}
	out := make([]int, k)
	for i := range out {
		out[i] = queue[i].index
	}
	return out
}

// The rest transcribes libstdc++'s bits/stl_algo.h and bits/stl_heap.h step by step: every
// comparison and move matters, because they determine the order of equal values.

// introLimit is __lg(n) * 2, the depth after which both algorithms fall back to a heap.
func introLimit(n int) int { return 2 * (bits.Len(uint(n)) - 1) }

func nthElement(a []item, nth int) {
	if nth == len(a) {
		return
	}
	first, last := 0, len(a)
	for depth := introLimit(len(a)); last-first > 3; depth-- {
		if depth == 0 {
			heapSelect(a[first:last], nth+1-first)
			a[first], a[nth] = a[nth], a[first]
			return
		}
		if cut := first + partitionPivot(a[first:last]); cut <= nth {
			first = cut
		} else {
			last = cut
		}
	}
	insertionSort(a[first:last])
}

func introsort(a []item) {
	if len(a) == 0 {
		return
	}
	introsortLoop(a, introLimit(len(a)))
	if len(a) <= smallSort {
		insertionSort(a)
		return
	}
	insertionSort(a[:smallSort])
	for i := smallSort; i < len(a); i++ {
		linearInsert(a, i)
	}
}

const smallSort = 16 // _S_threshold

func introsortLoop(a []item, depth int) {
	for len(a) > smallSort {
		if depth == 0 {
			partialSort(a, len(a))
			return
		}
		depth--
		cut := partitionPivot(a)
		introsortLoop(a[cut:], depth)
		a = a[:cut]
	}
}

// partitionPivot is __unguarded_partition_pivot; a has at least 4 entries.
func partitionPivot(a []item) int {
	medianToFirst(a, 1, len(a)/2, len(a)-1)
	pivot := a[0]
	first, last := 1, len(a)
	for {
		for before(a[first], pivot) {
			first++
		}
		last--
		for before(pivot, a[last]) {
			last--
		}
		if first >= last {
			return first
		}
		a[first], a[last] = a[last], a[first]
		first++
	}
}

func medianToFirst(a []item, x, y, z int) {
	m := x
	if before(a[x], a[y]) {
		if before(a[y], a[z]) {
			m = y
		} else if before(a[x], a[z]) {
			m = z
		}
	} else if !before(a[x], a[z]) {
		m = y
		if before(a[y], a[z]) {
			m = z
		}
	}
	a[0], a[m] = a[m], a[0]
}

func insertionSort(a []item) {
	for i := 1; i < len(a); i++ {
		if before(a[i], a[0]) {
			v := a[i]
			copy(a[1:i+1], a[:i])
			a[0] = v
		} else {
			linearInsert(a, i)
		}
	}
}

// linearInsert is __unguarded_linear_insert: some entry before i is not after a[i].
func linearInsert(a []item, i int) {
	v := a[i]
	for ; before(v, a[i-1]); i-- {
		a[i] = a[i-1]
	}
	a[i] = v
}

func partialSort(a []item, middle int) {
	heapSelect(a, middle)
	for last := middle - 1; last > 0; last-- {
		popHeap(a, last, last)
	}
}

// heapSelect makes a[:middle] a heap of the middle first entries of the order.
func heapSelect(a []item, middle int) {
	for parent := (middle - 2) / 2; middle >= 2 && parent >= 0; parent-- {
		adjustHeap(a[:middle], parent, a[parent])
	}
	for i := middle; i < len(a); i++ {
		if before(a[i], a[0]) {
			popHeap(a, middle, i)
		}
	}
}

// popHeap is __pop_heap on the heap a[:size]: its top goes to a[result].
func popHeap(a []item, size, result int) {
	v := a[result]
	a[result] = a[0]
	adjustHeap(a[:size], 0, v)
}

func adjustHeap(a []item, hole int, v item) {
	top, child := hole, hole
	for child < (len(a)-1)/2 {
		child = 2 * (child + 1)
		if before(a[child], a[child-1]) {
			child--
		}
		a[hole] = a[child]
		hole = child
	}
	if len(a)%2 == 0 && child == (len(a)-2)/2 {
		child = 2 * (child + 1)
		a[hole] = a[child-1]
		hole = child - 1
	}
	for parent := (hole - 1) / 2; hole > top && before(a[parent], v); parent = (hole - 1) / 2 {
		a[hole] = a[parent]
		hole = parent
	}
	a[hole] = v
}
