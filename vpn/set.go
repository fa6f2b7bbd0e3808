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
			delete(m.auth.turns, name)
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
