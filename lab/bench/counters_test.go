package bench_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// counts are what the CPU counted; all zero where the machine does not let it.
type counts struct{ instructions, cycles float64 }

func (c counts) minus(o counts) counts {
	return counts{c.instructions - o.instructions, c.cycles - o.cycles}
}

// counters are the CPU's own, of what the kernel does for this thread and in ksoftirqd: others that work on the machine
// at the same time do not count.
type counters struct{ instructions, cycles []int }

// openCounters counts for the calling thread, and for ksoftirqd if so asked.
func openCounters(ksoftirqd bool) *counters {
	threads := []int{0}
	var names []string
	if ksoftirqd {
		names, _ = filepath.Glob("/proc/[0-9]*/comm")
	}
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(comm), "ksoftirqd/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			threads = append(threads, pid)
		}
	}
	c := &counters{}
	for _, thread := range threads {
		c.instructions = openCounter(c.instructions, thread, unix.PERF_COUNT_HW_INSTRUCTIONS)
		c.cycles = openCounter(c.cycles, thread, unix.PERF_COUNT_HW_CPU_CYCLES)
	}
	return c
}

func openCounter(fds []int, thread int, event uint64) []int {
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
		Type: unix.PERF_TYPE_HARDWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Config: event,
		Bits: unix.PerfBitExcludeUser | unix.PerfBitExcludeHv,
	}, thread, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return fds // a virtual machine often has none
	}
	return append(fds, fd)
}

func (c *counters) read() counts { return counts{sum(c.instructions), sum(c.cycles)} }

func (c *counters) close() {
	for _, fd := range append(c.instructions, c.cycles...) {
		_ = unix.Close(fd)
	}
}

func sum(fds []int) (total float64) {
	for _, fd := range fds {
		var value [8]byte
		if n, err := unix.Read(fd, value[:]); err == nil && n == len(value) {
			total += float64(binary.NativeEndian.Uint64(value[:]))
		}
	}
	return total
}
