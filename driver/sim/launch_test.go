package sim

import (
	"runtime"
	"testing"

	"dataflex.dev/dataflex/driver"
)

// A bug of the interpreter, here code that ends before its ret, panics in the goroutine that
// launched the kernel, with one worker and with several.
func TestInterpretersPanicReachesTheCaller(t *testing.T) {
	for _, workers := range []int{1, 3} {
		b := newBench(t, Options{Workers: workers}, kernelText("mov.u32 %r1, %tid.x;", "%rd0", "%rd1", "%rd2", "%rd3"))
		f, err := b.mod.Function("k")
		if err != nil {
			t.Fatal(err)
		}
		f.(*Function).k.code = nil
		func() {
			defer func() {
				if _, ok := recover().(runtime.Error); !ok {
					t.Errorf("%d workers: no panic came up", workers)
				}
			}()
			_ = b.dev.Launch(f, grid(8, 1, 32), new(driver.Args).Addr(0).Addr(0).Addr(0).Addr(0))
		}()
	}
}
