package speaker

import (
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// Hundreds of speakers share a machine, each with little to do most of the time: memory is to be small then, and is
// collected often. While routes come by the thousand, that alone would take half of the time.
const (
	// collectAtRest and collectInBurst are the shares of garbage, in per cent of what is in use, at which memory is collected.
	collectAtRest, collectInBurst = 50, 200
	// A burst is so many routes in so short a time. It is over when fewer came in such a time.
	burst     = 2000
	burstTime = 2 * time.Second
	// worthIt is how much must be there to give back, in bytes.
	worthIt = 4 << 20
)

// memory sees to how memory is collected, and gives back what a burst of routes took and the table does not need: as much
// again as the table. The zero value is at rest.
type memory struct {
	// taken counts routes. window is what it was when the last time for a burst began, at since.
	taken, window atomic.Uint64
	since         time.Time
	busy          atomic.Bool
	// rested: memory was given back since the last burst.
	rested bool
}

// took is told of routes as they come.
func (m *memory) took(routes int) {
	if m.taken.Add(uint64(routes))-m.window.Load() > burst && m.busy.CompareAndSwap(false, true) {
		debug.SetGCPercent(collectInBurst)
	}
}

// look ends a burst when it is over. One goroutine calls it now and then.
func (m *memory) look(now time.Time) {
	if now.Sub(m.since) < burstTime {
		return
	}
	taken := m.taken.Load()
	came := taken - m.window.Swap(taken)
	m.since = now
	if came > burst {
		m.rested = false
		return
	}
	if m.busy.CompareAndSwap(true, false) {
		debug.SetGCPercent(collectAtRest)
	}
	if m.rested {
		return
	}
	m.rested = true
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	free, unused, objects, live := samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64(), samples[3].Value.Uint64()
	if free+unused+max(objects, live)-live >= worthIt {
		debug.FreeOSMemory()
	}
}
