package vpn

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// resolvePause is between two looks at what the peers' names stand for.
	resolvePause = 30 * time.Second
	// resolvePatience bounds one look-up. A name that cannot be looked up keeps what it stood for.
	resolvePatience = 5 * time.Second
	// resolvesAtOnce spares the name server.
	resolvesAtOnce = 16
)

// host is a peer's name and the family of addresses that is wanted of it: that of the gateway's end.
type host struct {
	name string
	ipv6 bool
}

// hostKey is the zero host where the interface's peer is not declared by name.
func hostKey(i Interface) host {
	if i.PeerHost == "" {
		return host{}
	}
	return host{i.PeerHost, i.LocalAddress.Is6()}
}

// resolveLoop looks up the peers' names again and again until ctx ends, and at once where there is a new one. An
// interface whose peer has another address is loaded anew; its standing tunnel stays.
//
// No name waits for another one's answer, which whoever has that name may hold back: what is found counts at once, and the
// names that had no answer the last time are not among the number of the others that may be looked up at once.
func (m *Manager) resolveLoop(ctx context.Context, c *client) {
	var workers sync.WaitGroup
	defer workers.Wait()
	answered, silent := make(chan struct{}, resolvesAtOnce), make(chan struct{}, resolvesAtOnce)
	again := time.NewTicker(resolvePause)
	defer again.Stop()
	for {
		for h, wasSilent := range m.hostsToLookUp() {
			room := answered
			if wasSilent {
				room = silent
			}
			workers.Go(func() { m.resolve(ctx, h, room) })
		}
		select {
		case <-ctx.Done():
			return
		case <-m.auth.newHost:
		case <-again.C:
		case <-m.auth.newAddress:
			m.apply.Lock()
			err := m.applyAll(ctx, c)
			m.apply.Unlock()
			if err != nil && ctx.Err() == nil {
				m.log.Warn("not everything could be loaded", "event", "resolve", "reason", err)
			}
			m.wakeDialer()
		}
	}
}

// hostsToLookUp are the names that are to be looked up now, and are noted to be, with whether they had no answer the last
// time. It forgets those that nobody declares any more.
func (m *Manager) hostsToLookUp() map[host]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := map[host]bool{}
	for _, t := range m.tunnels {
		if key := hostKey(t.want); t.declared && key != (host{}) {
			wanted[key] = m.auth.silent[key]
		}
	}
	gone := func(h host) bool { _, is := wanted[h]; return !is }
	maps.DeleteFunc(m.auth.hosts, func(h host, _ netip.Addr) bool { return gone(h) })
	maps.DeleteFunc(m.auth.silent, func(h host, _ bool) bool { return gone(h) })
	maps.DeleteFunc(wanted, func(h host, _ bool) bool { return m.auth.looking[h] })
	for h := range wanted {
		m.auth.looking[h] = true
	}
	return wanted
}

// resolve looks up one name once there is room, and notes what it stands for.
func (m *Manager) resolve(ctx context.Context, h host, room chan struct{}) {
	var addr netip.Addr
	var err error
	m.mu.Lock()
	known := m.auth.hosts[h]
	m.mu.Unlock()
	select {
	case room <- struct{}{}:
		addr, err = m.lookUp(ctx, h, known)
		<-room
	case <-ctx.Done():
	}
	m.mu.Lock()
	delete(m.auth.looking, h)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		m.auth.silent[h], m.auth.hosts[h] = true, known
		for _, t := range m.tunnels {
			if t.declared && hostKey(t.want) == h && !t.up() && !known.IsValid() {
				m.found = append(m.found, t.nameless(err, time.Now())...)
			}
		}
	default:
		delete(m.auth.silent, h)
		if m.auth.hosts[h] != addr {
			poke(m.auth.newAddress)
		}
		m.auth.hosts[h] = addr
	}
	m.mu.Unlock()
	m.tellFound()
}

// nameless notes that the peer's name stands for nothing, and tells of it once. A peer that would be dialled is as
// unreachable as one that does not answer: packets must not wait for it, nor for it alone.
func (t *tunnel) nameless(err error, now time.Time) []Event {
	t.explain(err.Error(), now)
	if t.failed || !t.want.canDial() || t.want.Initiate == Never {
		return nil
	}
	t.unreachable(now)
	return []Event{t.event(Failed, err.Error(), now)}
}

// lookUp finds the address that a name stands for. Of several the known one stays as long as it is among them.
func (m *Manager) lookUp(ctx context.Context, h host, known netip.Addr) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	network := "ip4"
	if h.ipv6 {
		network = "ip6"
	}
	addrs, err := m.opts.Resolver.LookupNetIP(ctx, network, h.name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot resolve the peer's name: %w", err)
	}
	for n := range addrs {
		addrs[n] = addrs[n].Unmap()
	}
	if slices.Contains(addrs, known) {
		return known, nil
	}
	return addrs[0], nil
}
