package vpn

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// Tunnels lists every declared interface's tunnel by tenant and name: its SAs as charon's events told, with the kernel's
// counters. charon is not asked, so that a long list neither takes long nor gets in the way of tunnels. While charon is
// not connected the list is of what was known last, along with ErrNotConnected.
func (m *Manager) Tunnels(context.Context) ([]Tunnel, error) {
	_, err := m.connected()
	counted, uncounted := counters(m.opts.Namespace)
	err = errors.Join(err, uncounted)
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Tunnel, 0, len(m.tunnels))
	for _, name := range slices.Sorted(maps.Keys(m.tunnels)) {
		if t := m.tunnels[name]; t.declared {
			list = append(list, t.show(counted, now))
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
	have, _, _, err := inventory(ctx, c)
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

// States tells the state of every declared interface of a tenant, by its name, from memory: it asks nobody and is cheap.
func (m *Manager) States(tenant string) map[string]State {
	m.mu.Lock()
	defer m.mu.Unlock()
	states := map[string]State{}
	for _, t := range m.tunnels {
		if t.declared && t.tenant == tenant {
			states[t.want.Name] = t.state()
		}
	}
	return states
}
