package vpn

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	// goneTimeout is how long terminated SAs may take to go; charon needs milliseconds.
	goneTimeout = 5 * time.Second
	gonePause   = 20 * time.Millisecond
	// farewell is how long a peer has to answer that it knows. What is ended by force while another exchange is under way,
	// such as rekeying, goes without a word, and leaves the peer with an SA of its own until it misses us.
	farewell = 300 * time.Millisecond
)

// endSAs ends the IKE_SAs, with their children, and waits until charon does not list them any more and its events have
// said so. The peers are told, and not waited for any longer than a moment.
func (m *Manager) endSAs(ctx context.Context, c *client, name string, ids map[string]bool) error {
	for id := range ids {
		if err := terminate(ctx, c, "ike-id", id, false); err != nil {
			return err
		}
	}
	patience, forced := time.Now().Add(farewell), false
	deadline := time.Now().Add(goneTimeout)
	for len(ids) > 0 {
		sas, err := listSAs(ctx, c, name)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(sas[name], func(sa ikeSA) bool { return !ids[sa.id] })
		if len(left) == 0 && m.sawEnd(name, ids) {
			return nil
		}
		if !forced && time.Now().After(patience) {
			forced = true
			for _, sa := range left {
				if err := terminate(ctx, c, "ike-id", sa.id, true); err != nil {
					return err
				}
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d SAs did not end within %v", len(left), goneTimeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(gonePause):
		}
	}
	return nil
}

// sawEnd tells whether charon's events have told of the end of all these IKE_SAs.
func (m *Manager) sawEnd(name string, ids map[string]bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tunnels[name]
	if t == nil {
		return true
	}
	for id := range ids {
		if _, ok := t.ikes[id]; ok {
			return false
		}
	}
	return true
}

// terminate ends one IKE_SA (kind ike-id) or CHILD_SA (kind child-id), by force without waiting for the peer's answer. One
// that is gone already is no error.
func terminate(ctx context.Context, c *client, kind, id string, force bool) error {
	if kind == "ike-id" {
		c.willEnd(id)
	}
	forced := "no"
	if force {
		forced = "yes"
	}
	out, err := c.call(ctx, "terminate", arguments(kind, id, "force", forced, "timeout", "-1"))
	if refused(err) && text(out, "matches") == "0" {
		return nil
	}
	return err
}
