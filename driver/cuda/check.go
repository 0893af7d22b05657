//go:build cuda && cgo && linux

package cuda

import (
	"fmt"
	"reflect"
	"runtime"

	"gorgonia.org/cu"

	shim "dataflex.dev/dataflex/third_party/cuda"
)

// check converts the result of every driver call: nil for success, else an *Error with the
// call, the code and the driver's text.
func check(call string, code int) error {
	if code == 0 {
		return nil
	}
	name, text := nativeDescribe(code)
	switch Code(code) {
	case SymbolNotFound:
		text += fmt.Sprintf("; the driver %s supports CUDA %s and lacks this function: update it", shim.Path(), versionText(cu.Version()))
	case JITCompilerNotFound:
		text += "; libnvidia-ptxjitcompiler.so.1 must lie beside libcuda.so.1"
	}
	return &Error{Call: call, Code: Code(code), Name: name, Text: text}
}

// code is the number in an error of gorgonia.org/cu, whose type is not exported.
func code(err error) int {
	if err == nil {
		return 0
	}
	return int(reflect.ValueOf(err).Int())
}

// do runs one driver call with the device's context current on its thread.
func (d *Device) do(call string, f func() int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := check("cuCtxSetCurrent", code(cu.SetCurrentContext(d.ctx))); err != nil {
		return err
	}
	return d.result(call, f())
}

// result checks a call on this device. The GPU reports a kernel's fault at whichever call
// comes after, so such an error names the kernel launched last.
func (d *Device) result(call string, code int) error {
	err := check(call, code)
	if err == nil || !Code(code).lost() {
		return err
	}
	e := err.(*Error)
	e.Text += "; the context is lost and the program must be restarted"
	if d.last != "" {
		e.Text += fmt.Sprintf("; the kernel launched last is %s", d.last)
	}
	return e
}

func versionText(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }
