package vpn

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// dialLoop dials what is to be up and is not, and removes duplicate SAs, until ctx ends.
func (m *Manager) dialLoop(ctx context.Context, c *client) {
	tick := time.NewTicker(dialTick)
	defer tick.Stop()
	for {
		for _, name := range m.dueDials(c, time.Now()) {
			m.dialOne(ctx, c, name)
		}
		m.tellFound()
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
		case <-m.wake:
		case <-tick.C:
		}
	}
}

// wakeDialer has the dial loop look now.
func (m *Manager) wakeDialer() {
	select {
	case m.wake <- struct{}{}:
	default: // it is about to look
	}
}

// dueDials picks what to dial now and notes it as dialled, those that wait longest first, keeping the number under way
// bounded. Dials that came to no end are given up. There are none in a session that is not in use any more.
func (m *Manager) dueDials(c *client, now time.Time) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.client != c {
		return nil
	}
	room := dialsAtOnce
	var due []string
	for name, t := range m.tunnels {
		if t.dial.underWay() && !now.Before(t.dial.until) {
			m.found = append(m.found, t.gaveUp(now))
		}
		switch {
		case t.dial.underWay():
			room[t.dial.class]--
		case t.declared && m.usable[name] && !t.up() && t.want.canDial() && t.dial.due(t.want.Initiate, now):
			due = append(due, name)
		}
	}
	slices.SortFunc(due, func(a, b string) int {
		return cmp.Or(m.tunnels[a].dial.next.Compare(m.tunnels[b].dial.next), cmp.Compare(a, b))
	})
	return slices.DeleteFunc(due, func(name string) bool {
		d := &m.tunnels[name].dial
		class := d.who()
		if room[class] <= 0 {
			return true
		}
		room[class]--
		d.started(now)
		return false
	})
}

// gaveUp ends a dial of which charon did not tell the end.
func (t *tunnel) gaveUp(now time.Time) Event {
	reason := fmt.Sprintf("charon did not tell within %v how dialling ended", dialPatience)
	t.didNotComeUp(reason, true, now)
	return t.event(Failed, reason, now)
}

// dialOne has charon dial, and notes it where charon refuses to. How it ends is told by charon's events.
func (m *Manager) dialOne(ctx context.Context, c *client, name string) {
	_, iface, _ := splitName(name)
	_, err := c.call(ctx, "initiate", arguments("child", iface, "ike", name, "timeout", "-1"))
	if err == nil || ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.tunnels[name]; t != nil && t.declared && t.dial.underWay() {
		t.didNotComeUp(err.Error(), true, time.Now())
		m.found = append(m.found, t.event(Failed, err.Error(), time.Now()))
	}
}
