// Package scratch is host memory that kernels keep between calls, so that a warm call
// allocates nothing. On a device ptx.Queue keeps it.
package scratch

// Pool lends objects of type T to one call or thread each. Unlike a sync.Pool it is not
// emptied by the garbage collector: its objects are too large to be allocated again every
// time.
type Pool[T any] struct{ idle chan *T }

// NewPool keeps up to n objects; further ones that are given back are garbage.
func NewPool[T any](n int) Pool[T] { return Pool[T]{make(chan *T, n)} }

// Take returns an object that was given back, or the zero value.
func (p Pool[T]) Take() *T {
	select {
	case x := <-p.idle:
		return x
	default:
		return new(T)
	}
}

// Give gives x back; the caller must not use it any more.
func (p Pool[T]) Give(x *T) {
	select {
	case p.idle <- x:
	default:
	}
}

// Len is the number of idle objects.
func (p Pool[T]) Len() int { return len(p.idle) }

// Sized returns n elements of unspecified contents: those of s if it has the capacity.
func Sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
