package cpu

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// memoryBytes is the memory that this process may use: the machine's physical memory, or the
// limit of the container or the shell (ulimit -v) if that is lower.
var memoryBytes = sync.OnceValue(func() uint64 {
	var s syscall.Sysinfo_t
	if syscall.Sysinfo(&s) != nil {
		return 0
	}
	most := uint64(s.Totalram) * uint64(s.Unit)
	var address syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_AS, &address) == nil {
		most = min(most, address.Cur)
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // this file belongs to the other version of control groups, or there are none
		}
		if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 {
			most = min(most, limit)
		}
	}
	return most
})
