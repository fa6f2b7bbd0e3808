package speaker

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// quietTime is how long no route comes after a burst until memory is given back.
	quietTime = 3 * time.Second
	// worthIt is how much must be there to give back, in bytes.
	worthIt = 4 << 20
)

// memory gives back what a burst of routes took and the table does not need: as much again as the table.
type memory struct {
	taken  uint64
	since  time.Time
	rested bool
}

// look is told how many routes were taken until now.
func (m *memory) look(now time.Time, taken uint64) {
	if taken != m.taken || m.since.IsZero() {
		m.taken, m.since, m.rested = taken, now, false
		return
	}
	if m.rested || now.Sub(m.since) < quietTime {
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
