package vpn

import (
	"context"
	"slices"
)

// load loads the secrets and the connections of one interface, unloads those that it had and has no more, and ends the
// SAs that do not belong to it any more.
func (m *Manager) load(ctx context.Context, c *client, s step) error {
	want, err := messages(s.name, s.iface)
	if err != nil {
		return err
	}
	l := m.have[s.name]
	l.known = false
	m.have[s.name] = l
	for _, secret := range want.secrets {
		if _, err := c.call(ctx, "load-shared", secret.msg); err != nil {
			return err
		}
		m.note(s.name, func(l *loaded) { l.secrets = with(l.secrets, secret.name) })
	}
	for _, conn := range want.conns {
		if _, err := c.call(ctx, "load-conn", conn.msg); err != nil {
			return err
		}
		m.note(s.name, func(l *loaded) { l.conns = with(l.conns, conn.name) })
	}
	if err := m.unload(ctx, c, s.name, want); err != nil {
		return err
	}
	if err := m.end(ctx, c, s); err != nil {
		// The connection is the new one, the SAs are not: the next Set must look at them again.
		m.note(s.name, func(l *loaded) { l.view = connection{} })
		return err
	}
	m.note(s.name, func(l *loaded) { l.known, l.iface = true, s.iface })
	m.mu.Lock()
	defer m.mu.Unlock()
	m.usable[s.name] = s.iface.peer().IsValid()
	return nil
}

// note changes what is noted of one interface at charon. It must be called with apply held.
func (m *Manager) note(name string, change func(*loaded)) {
	l := m.have[name]
	change(&l)
	m.have[name] = l
}

// with is the list with the name in it.
func with(list []string, name string) []string {
	if slices.Contains(list, name) {
		return list
	}
	return append(slices.Clone(list), name)
}

// without is the list without the name.
func without(list []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(n string) bool { return n == name })
}

// remove unloads one interface and ends its SAs.
func (m *Manager) remove(ctx context.Context, c *client, name string) error {
	m.note(name, func(l *loaded) { l.known = false })
	m.mu.Lock()
	delete(m.usable, name)
	m.mu.Unlock()
	if err := m.unload(ctx, c, name, orders{}); err != nil {
		return err
	}
	if err := m.end(ctx, c, step{name: name, stale: staleAll}); err != nil {
		return err
	}
	delete(m.have, name)
	return nil
}

// unload unloads what charon has of one interface and is not wanted. Connections go first, so that nobody dials them
// again.
func (m *Manager) unload(ctx context.Context, c *client, name string, want orders) error {
	wanted := func(list []order, name string) bool {
		return slices.ContainsFunc(list, func(o order) bool { return o.name == name })
	}
	for _, conn := range m.have[name].conns {
		if wanted(want.conns, conn) {
			continue
		}
		if _, err := c.call(ctx, "unload-conn", arguments("name", conn)); err != nil {
			return err
		}
		m.note(name, func(l *loaded) { l.conns = without(l.conns, conn) })
	}
	for _, secret := range m.have[name].secrets {
		if wanted(want.secrets, secret) {
			continue
		}
		if _, err := c.call(ctx, "unload-shared", arguments("id", secret)); err != nil {
			return err
		}
		m.note(name, func(l *loaded) { l.secrets = without(l.secrets, secret) })
	}
	return nil
}
