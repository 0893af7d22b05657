// Package cuda implements the device that computes on an NVIDIA GPU.
//
// Devices, the primary context, modules, memory, streams and events go through
// gorgonia.org/cu; native.go adds what that package lacks (a launch in one C call with
// parameters of any size, function attributes, pinned memory, tensor maps, graphs). Both
// call the driver through third_party/cuda, which opens libcuda.so.1 at the first call: a
// program with this package in it starts without a driver, and only Open and Available
// report a missing one.
//
// It is behind the build tag cuda, which make sets with the flags cgo needs. Without the tag
// Open and Available return an error that says so, and everything else compiles.
//
// A Device may be used from any goroutine, one at a time. The driver has a current context
// per operating-system thread, so every call sets it on the thread it runs on. All work goes
// to one queue (a stream of the device's own that does not synchronise with the legacy
// default stream) unless a launch names another stream. Freed memory is reused in the order
// of that queue, so code that used it in another stream must first make the queue wait for
// that stream.
package cuda
