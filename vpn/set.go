package vpn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Set makes want the whole desired state of one tenant's tunnels. What is as it should be is not touched; an interface
// that is gone is unloaded and its SAs ended before Set returns; one whose addresses, identities or if_id changed is
// loaded anew and its SAs ended. Other changes leave standing SAs alone.
//
// Set carries on past an interface that fails, and returns all errors; one that is declared wrongly stays as it was.
// With ErrNotConnected in the error, the desired state was taken up and is loaded when charon comes.
func (m *Manager) Set(ctx context.Context, tenant string, want []Interface) error {
	m.apply.Lock()
	defer m.apply.Unlock()
	errs := []error{m.declare(tenant, want)}
	m.tellFound()
	c, err := m.connected()
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("tenant %s: %w", tenant, err))...)
	}
	errs = append(errs, m.applyTenant(ctx, c, tenant))
	for _, other := range slices.Sorted(maps.Keys(m.blocked)) {
		if other != tenant {
			if err := m.applyTenant(ctx, c, other); err != nil {
				m.log.Warn("an interface still waits", "event", "blocked", "tenant", other, "reason", err)
			}
		}
	}
	return errors.Join(errs...)
}

// declare takes up the desired state of a tenant without telling charon.
func (m *Manager) declare(tenant string, want []Interface) error {
	if _, _, ok := splitName(connName(tenant, "x")); !ok {
		return fmt.Errorf("tenant %q: the name must not be empty or contain %q", tenant, nameSeparator)
	}
	var errs []error
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tenants[tenant] = true
	keep := map[string]bool{}
	ifIDs := map[uint32]string{}
	for _, i := range want {
		i = i.withDefaults()
		name := connName(tenant, i.Name)
		err := i.check()
		if keep[name] {
			err = errors.Join(err, errors.New("the name is declared twice"))
		}
		if other, twice := ifIDs[i.IfID]; twice {
			err = errors.Join(err, fmt.Errorf("if_id %d is %s's", i.IfID, other))
		}
		keep[name], ifIDs[i.IfID] = true, i.Name
		if err != nil {
			errs = append(errs, fmt.Errorf("tenant %s, interface %s: %w", tenant, i.Name, err))
			continue
		}
		m.take(tenant, name, i)
	}
	for name, t := range m.tunnels {
		if t.tenant == tenant && !keep[name] {
			t.declared = false
			t.conclude(ErrUnknown)
			delete(m.usable, name)
			m.prune(name)
		}
	}
	return errors.Join(errs...)
}

// take takes up one interface's desired state. An SA of it may stand already. It must be called with mu held.
func (m *Manager) take(tenant, name string, i Interface) {
	t := m.tunnel(name)
	if t.declared && t.want.equal(i) {
		return
	}
	wasDeclared := t.declared
	t.declared, t.want = true, i
	m.auth.lookSoon(i)
	t.reachable()
	t.dial = dialing{upAt: t.dial.upAt, restore: t.dial.restore, until: t.dial.until}
	if !wasDeclared && t.up() {
		m.found = append(m.found, Event{
			Tenant: tenant, Interface: i.Name, Kind: Adopted, Peer: t.peer(), Time: time.Now(),
		})
	}
}

// loadAll brings charon to what is desired.
func (m *Manager) loadAll(ctx context.Context, c *client) error {
	m.apply.Lock()
	defer m.apply.Unlock()
	return errors.Join(m.loadCredentials(ctx, c), m.applyAll(ctx, c))
}

// applyAll brings every tenant that was set to what is desired of it, first those whose tunnels went with an earlier
// charon: to load thousands takes a while. It must be called with apply held.
func (m *Manager) applyAll(ctx context.Context, c *client) error {
	m.mu.Lock()
	waiting := map[string]int{}
	for _, t := range m.tunnels {
		if t.dial.restore {
			waiting[t.tenant]++
		}
	}
	tenants := slices.SortedFunc(maps.Keys(m.tenants), func(a, b string) int {
		return cmp.Or(cmp.Compare(waiting[b], waiting[a]), cmp.Compare(a, b))
	})
	m.mu.Unlock()
	var errs []error
	for _, tenant := range tenants {
		errs = append(errs, m.applyTenant(ctx, c, tenant))
	}
	return errors.Join(errs...)
}

// applyTenant must be called with apply held.
func (m *Manager) applyTenant(ctx context.Context, c *client, tenant string) error {
	var errs []error
	have, want, changing := m.collect(tenant)
	delete(m.blocked, tenant)
	if err := m.tendEAPGate(ctx, c); err != nil {
		errs = append(errs, fmt.Errorf("EAP: %w", err))
	}
	for _, s := range plan(have, want) {
		var err error
		peer := s.iface.who()
		other := clash(s.name, peer, m.have, changing)
		switch {
		case s.remove:
			err = m.remove(ctx, c, s.name)
		case other != "":
			m.blocked[tenant] = true
			err = fmt.Errorf("its identities clash with those of %s: one peer must open one tunnel only", other)
		default:
			m.note(s.name, func(l *loaded) { l.who = peer })
			delete(changing, s.name)
			err = m.load(ctx, c, s)
		}
		if err == nil {
			continue
		}
		_, iface, _ := splitName(s.name)
		errs = append(errs, fmt.Errorf("tenant %s, interface %s: %w", tenant, iface, err))
		if !refused(err) && (ctx.Err() != nil || c.ended()) {
			errs = append(errs, ErrNotConnected)
			break
		}
	}
	return errors.Join(errs...)
}

// collect gathers what charon has of the tenant, what is wanted, and which of those change: what they were must not clash
// with what they become. It must be called with apply held.
func (m *Manager) collect(tenant string) (have map[string]loaded, want map[string]complete, changing map[string]bool) {
	have, want, changing = map[string]loaded{}, map[string]complete{}, map[string]bool{}
	m.mu.Lock()
	for name, t := range m.tunnels {
		if t.declared && t.tenant == tenant && !t.want.Disabled {
			want[name] = m.auth.complete(name, t.want)
		}
	}
	m.mu.Unlock()
	for name, l := range m.have {
		if !strings.HasPrefix(name, tenant+nameSeparator) {
			continue
		}
		have[name] = l
		if wanted, stays := want[name]; !stays || !l.known || !l.iface.equal(wanted) {
			changing[name] = true
		}
	}
	return have, want, changing
}

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

// end ends the stale SAs of a step and waits until they are gone. Those that only come up now are for the sweep.
func (m *Manager) end(ctx context.Context, c *client, s step) error {
	ids := map[string]bool{}
	switch s.stale {
	case staleNone:
		return nil
	case staleMismatch:
		m.mu.Lock()
		for id, sa := range m.tunnel(s.name).ikes {
			if !sa.fits(s.iface.Interface) {
				ids[id] = true
			}
		}
		m.mu.Unlock()
	case staleAll:
		sas, err := listSAs(ctx, c, s.name)
		if err != nil {
			return err
		}
		for _, sa := range sas[s.name] {
			ids[sa.id] = true
		}
	}
	return m.endSAs(ctx, c, s.name, ids)
}
