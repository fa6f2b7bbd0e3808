package bgp

import "time"

// Hurry makes the manager wait less: a restart that failed is tried again after 10 ms, and a speaker that hangs is found
// out in twice check.
func (m *Manager) Hurry(check time.Duration) {
	m.pace.again, m.pace.check = 10*time.Millisecond, check
}

// Impatient makes the manager wait for an answer for no longer than answer, and for an end for no longer than stop.
func (m *Manager) Impatient(answer, stop time.Duration) { m.pace.answer, m.pace.stop = answer, stop }

// Restarts is how often the tenant's speaker was started again.
func (m *Manager) Restarts(tenant string) uint64 { return m.keeper(tenant).restarts.Load() }
