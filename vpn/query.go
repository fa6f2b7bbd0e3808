package vpn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Tunnels lists every declared interface's tunnel with what charon says about it now, by tenant and name. When charon
// is not connected it returns what was known last, along with ErrNotConnected.
func (m *Manager) Tunnels(ctx context.Context) ([]Tunnel, error) {
	var sas map[string][]ikeSA
	c, err := m.connected()
	if err == nil {
		sas, err = listSAs(ctx, c, "")
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Tunnel, 0, len(m.tunnels))
	for _, name := range slices.Sorted(maps.Keys(m.tunnels)) {
		if t := m.tunnels[name]; t.declared {
			list = append(list, t.show(sas[name], now))
		}
	}
	slices.SortFunc(list, func(a, b Tunnel) int {
		if a.Tenant != b.Tenant {
			return strings.Compare(a.Tenant, b.Tenant)
		}
		return strings.Compare(a.Interface, b.Interface)
	})
	return list, err
}

// Tenants lists the tenants of which charon has anything loaded or established, declared or not, so that a daemon that
// was restarted can sweep those that nobody declares any more: Set them to nothing.
func (m *Manager) Tenants(ctx context.Context) ([]string, error) {
	c, err := m.connected()
	if err != nil {
		return nil, err
	}
	have, _, err := inventory(ctx, c)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for name := range have {
		tenant, _, _ := splitName(name)
		found[tenant] = true
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Initiate dials a declared interface's peer, unless the tunnel is up. It returns as soon as charon has begun; how it
// ends is told by an Event.
func (m *Manager) Initiate(ctx context.Context, tenant, iface string) error {
	c, t, err := m.find(tenant, iface)
	if err != nil {
		return err
	}
	m.mu.Lock()
	t.dial.held = false
	up := t.up()
	if !up {
		t.dial.started(time.Now())
	}
	m.mu.Unlock()
	if up {
		return nil
	}
	if err := initiate(ctx, c, tenant, iface); err != nil {
		m.mu.Lock()
		t.dial.ended(time.Now(), false)
		m.mu.Unlock()
		return fmt.Errorf("tenant %s, interface %s: %w", tenant, iface, err)
	}
	return nil
}

// Terminate ends a declared interface's SAs and returns when they are gone. A tunnel that is always up stays down until
// Initiate, a changed declaration or the peer brings it up; one on demand comes back with the next packet.
func (m *Manager) Terminate(ctx context.Context, tenant, iface string) error {
	c, t, err := m.find(tenant, iface)
	if err != nil {
		return err
	}
	m.mu.Lock()
	t.dial.held = true
	m.mu.Unlock()
	name := connName(tenant, iface)
	sas, err := listSAs(ctx, c, name)
	if err == nil {
		ids := map[string]bool{}
		for _, sa := range sas[name] {
			ids[sa.id] = true
		}
		err = endSAs(ctx, c, name, ids)
	}
	if err != nil {
		return fmt.Errorf("tenant %s, interface %s: %w", tenant, iface, err)
	}
	return nil
}

// find returns the session and a declared interface's tunnel.
func (m *Manager) find(tenant, iface string) (*client, *tunnel, error) {
	m.mu.Lock()
	t := m.tunnels[connName(tenant, iface)]
	known := t != nil && t.declared
	m.mu.Unlock()
	if !known {
		return nil, nil, fmt.Errorf("tenant %s, interface %s: %w", tenant, iface, ErrUnknown)
	}
	c, err := m.connected()
	if err != nil {
		return nil, nil, fmt.Errorf("tenant %s, interface %s: %w", tenant, iface, err)
	}
	return c, t, nil
}

// initiate tells charon to dial and does not wait for the outcome.
func initiate(ctx context.Context, c *client, tenant, iface string) error {
	_, err := c.call(ctx, "initiate", arguments("child", iface, "ike", connName(tenant, iface), "timeout", "-1"))
	return err
}
