package bench_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// counts are what was counted: time on a CPU, and by the CPU itself, which is zero where the machine does not let it.
type counts struct {
	busy                 time.Duration
	instructions, cycles float64
}

func (c counts) plus(o counts) counts {
	return counts{c.busy + o.busy, c.instructions + o.instructions, c.cycles + o.cycles}
}

func (c counts) times(f float64) counts {
	return counts{time.Duration(float64(c.busy) * f), c.instructions * f, c.cycles * f}
}

// counters count what is done in this thread and in ksoftirqd: others that work on the machine at the same time do not
// count. Instructions and cycles are the kernel's alone.
type counters struct{ busy, instructions, cycles []int }

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
		const hardware, software = unix.PERF_TYPE_HARDWARE, unix.PERF_TYPE_SOFTWARE
		c.busy = openCounter(c.busy, thread, software, unix.PERF_COUNT_SW_TASK_CLOCK, 0)
		c.instructions = openCounter(c.instructions, thread, hardware, unix.PERF_COUNT_HW_INSTRUCTIONS, kernelOnly)
		c.cycles = openCounter(c.cycles, thread, hardware, unix.PERF_COUNT_HW_CPU_CYCLES, kernelOnly)
	}
	return c
}

const kernelOnly = unix.PerfBitExcludeUser | unix.PerfBitExcludeHv

func openCounter(fds []int, thread int, kind uint32, event, bits uint64) []int {
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
		Type: kind, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Config: event, Bits: bits,
	}, thread, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return fds // a virtual machine often has none
	}
	return append(fds, fd)
}

func (c *counters) read() counts {
	return counts{time.Duration(sum(c.busy)), sum(c.instructions), sum(c.cycles)}
}

func (c *counters) close() {
	for _, fd := range slices.Concat(c.busy, c.instructions, c.cycles) {
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
