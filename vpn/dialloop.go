package vpn

import (
	"context"
	"maps"
	"slices"
	"time"
)

// dialLoop dials what is to be up and is not, and removes duplicate SAs, until ctx ends.
func (m *Manager) dialLoop(ctx context.Context, c *client) {
	tick := time.NewTicker(dialTick)
	defer tick.Stop()
	for {
		for _, name := range m.dueDials(time.Now()) {
			m.dialOne(ctx, c, name)
		}
		for name, want := range m.dueSweeps(time.Now()) {
			if err := m.sweep(ctx, c, name, want); err != nil && ctx.Err() == nil {
				m.log.Warn("duplicate SAs could not be removed", "event", "sweep", "connection", name, "reason", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-c.gone:
			return
		case <-tick.C:
		}
	}
}

// dueDials picks what to dial now and notes it as dialled, keeping the number under way bounded.
func (m *Manager) dueDials(now time.Time) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	underWay := 0
	for _, t := range m.tunnels {
		if now.Before(t.dial.until) {
			underWay++
		}
	}
	var due []string
	for _, name := range slices.Sorted(maps.Keys(m.tunnels)) {
		t := m.tunnels[name]
		if underWay+len(due) >= dialsAtOnce {
			break
		}
		if t.declared && m.usable[name] && !t.up() && t.dial.due(t.want.Initiate, now) {
			t.dial.started(now)
			due = append(due, name)
		}
	}
	return due
}

func (m *Manager) dialOne(ctx context.Context, c *client, name string) {
	tenant, iface, _ := splitName(name)
	err := initiate(ctx, c, tenant, iface)
	if err == nil || ctx.Err() != nil {
		return
	}
	m.log.Warn("cannot dial", "event", "dial", "tenant", tenant, "interface", iface, "reason", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.tunnels[name]; t != nil {
		t.failed, t.reason = true, err.Error()
		t.dial.ended(time.Now(), false)
	}
}
