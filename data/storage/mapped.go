package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"unsafe"
)

// mappings are the files mapped at present, so that a fault can name its file.
var mappings struct {
	sync.Mutex
	paths map[*byte]mapping
}

type mapping struct {
	path string
	size uintptr
}

// Map maps a file for reading: a later rename over path does not touch it. Read it under
// CatchFault: a file that is cut short, or a disk that fails, is a fault of the memory.
func Map(path string) (b []byte, unmap func() error, err error) {
	f, err := OpenFile(path, os.O_RDONLY|noWait, 0) // a FIFO is refused, not waited for
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	b, release, err := f.Map()
	if err != nil || len(b) == 0 {
		return b, release, err
	}
	key := unsafe.SliceData(b)
	mappings.Lock()
	defer mappings.Unlock()
	if mappings.paths == nil {
		mappings.paths = map[*byte]mapping{}
	}
	mappings.paths[key] = mapping{path, uintptr(len(b))}
	return b, func() error {
		mappings.Lock()
		delete(mappings.paths, key)
		mappings.Unlock()
		return release()
	}, nil
}

// mappedMoved says that a folder has another name now.
func mappedMoved(from, to string) {
	mappings.Lock()
	defer mappings.Unlock()
	for key, m := range mappings.paths {
		if rest, ok := strings.CutPrefix(m.path, from+string(filepath.Separator)); ok {
			m.path = filepath.Join(to, rest)
			mappings.paths[key] = m
		}
	}
}

// pathOf names the file that is mapped at an address.
func pathOf(addr uintptr) (string, bool) {
	mappings.Lock()
	defer mappings.Unlock()
	for start, m := range mappings.paths {
		// A mapping is whole pages.
		if from := uintptr(unsafe.Pointer(start)); addr >= from && addr-from < (m.size+pageMask)&^pageMask {
			return m.path, true
		}
	}
	return "", false
}

const pageMask = 1<<16 - 1 // the largest page of the machines this runs on

// CatchFault turns the fault that reading a mapped file gives after someone cut it
// short, or when its disk fails, into an error that names the file. Every goroutine that
// reads mapped files needs its own: defer storage.CatchFault(&err)().
func CatchFault(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			*err = AsFault(r)
			if *err == nil {
				panic(r)
			}
		}
	}
}

// AsFault is the error that a recovered panic means if it was a fault of a mapped
// file, else nil.
func AsFault(recovered any) error {
	fault, ok := recovered.(interface{ Addr() uintptr })
	if !ok {
		return nil
	}
	path, ok := pathOf(fault.Addr())
	if !ok {
		return nil
	}
	return fmt.Errorf("%s was made shorter or its disk failed while it was read: start again when it is whole", path)
}
