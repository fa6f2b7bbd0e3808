package vpn

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// A peer may refuse us for a reason that we cannot know beforehand: of two pre-shared keys it has the other one, or its
// subject has other parts beside the common name than we thought. charon has one way at a time to present itself, so
// that after a refusal the next one is loaded, in turn. What worked stays.

// dialForms are the identities by which a peer is dialled that is declared by RemoteID, those first that fit more peers.
// Each fits subjects with that common name only.
func dialForms(remoteID string) []string {
	id := certificateID(remoteID)
	if wholeID(remoteID) {
		return []string{id}
	}
	return []string{id + ", O=*", id, id + ", OU=*", id + ", C=*", id + ", DC=*"}
}

// turns is the number of ways that there are for the interface.
func (i complete) turns() int {
	switch {
	case i.Method == PSK && len(i.PreviousPSK) > 0:
		return 2
	case i.Method == Certificate && i.peer().IsValid(), i.DialUserName != "":
		return len(dialForms(i.RemoteID))
	}
	return 1
}

// lateRefusal is what charon logs when a peer that dialled does not take us for whom it wanted: the tunnel stood already.
var lateRefusal = regexp.MustCompile(`^parsed INFORMATIONAL request \d+ \[ (.* )?N\(AUTH_FAILED\) `)

// identityRefused tells whether a line of charon's log says that one end did not take the other for whom it wanted.
func identityRefused(line string) bool {
	return strings.HasPrefix(line, "received AUTHENTICATION_FAILED notify") ||
		strings.HasPrefix(line, "constraint check failed: identity ") || lateRefusal.MatchString(line)
}

// turn has the next way loaded, before the interface is dialled again.
func (m *Manager) turn(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tunnels[name]
	if t == nil || !t.declared || m.auth.complete(name, t.want).turns() == 1 {
		return
	}
	m.auth.turns[name]++
	m.auth.turned[t.tenant] = true
	delete(m.usable, name)
	poke(m.auth.newTurn)
}

// turnLoop loads what turn asked for until ctx ends.
func (m *Manager) turnLoop(ctx context.Context, c *client) {
	for {
		m.applyTurns(ctx, c)
		select {
		case <-ctx.Done():
			return
		case <-m.auth.newTurn:
		}
	}
}

// applyTurns loads what turn asked for.
func (m *Manager) applyTurns(ctx context.Context, c *client) {
	m.mu.Lock()
	tenants := make([]string, 0, len(m.auth.turned))
	for tenant := range m.auth.turned {
		tenants = append(tenants, tenant)
	}
	clear(m.auth.turned)
	m.mu.Unlock()
	if len(tenants) == 0 {
		return
	}
	slices.Sort(tenants)
	m.apply.Lock()
	defer m.apply.Unlock()
	defer m.wakeDialer()
	for _, tenant := range tenants {
		if err := m.applyTenant(ctx, c, tenant); err != nil && ctx.Err() == nil {
			m.log.Warn("not everything could be loaded", "event", "turn", "tenant", tenant, "reason", err)
		}
	}
}
