package bgp

import "time"

// Pace is how long things may take, and how long is waited between them.
type Pace = pace

// NewManagerAt makes a Manager of another pace than the usual one, as far as it is given.
func NewManagerAt(opts Options, p Pace) *Manager {
	m := NewManager(opts)
	for mine, given := range map[*time.Duration]time.Duration{
		&m.pace.again: p.again, &m.pace.longest: p.longest, &m.pace.check: p.check,
		&m.pace.start: p.start, &m.pace.answer: p.answer, &m.pace.change: p.change, &m.pace.stop: p.stop,
	} {
		if given != 0 {
			*mine = given
		}
	}
	return m
}

// Restarts is how often the tenant's speaker was started again.
func (m *Manager) Restarts(tenant string) uint64 { return m.keeper(tenant).restarts.Load() }

// Hurried waits little for a speaker that does not start.
var Hurried = Pace{again: 10 * time.Millisecond, longest: 100 * time.Millisecond, check: time.Hour}

// Strict takes a speaker that does not answer at once for one that hangs.
var Strict = Pace{check: 500 * time.Millisecond, answer: 500 * time.Millisecond, stop: time.Second}

// Patient waits for as long as it takes.
var Patient = Pace{check: time.Hour, answer: time.Hour}
