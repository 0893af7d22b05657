// Package scratch is the host memory that kernels keep between calls, so that a warm call
// allocates nothing. On a device it is ptx.Queue that keeps it.
package scratch

// Pool lends objects of type T to one call or thread each. Unlike a sync.Pool it is not
// emptied by the garbage collector: what lies in it is too large to be made again every
// time.
type Pool[T any] struct{ idle chan *T }

// NewPool keeps up to n objects; what is given back beyond that is garbage.
func NewPool[T any](n int) Pool[T] { return Pool[T]{make(chan *T, n)} }

// Take is an object that was given back, or the zero value.
func (p Pool[T]) Take() *T {
	select {
	case x := <-p.idle:
		return x
	default:
		return new(T)
	}
}

// Give gives x back, which the caller must not use any more.
func (p Pool[T]) Give(x *T) {
	select {
	case p.idle <- x:
	default:
	}
}

// Len is how many objects lie idle.
func (p Pool[T]) Len() int { return len(p.idle) }

// Sized is n elements of unspecified contents: s where it has room for them.
func Sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
