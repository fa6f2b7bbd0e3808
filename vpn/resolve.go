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
func (m *Manager) resolveLoop(ctx context.Context, c *client) {
	for {
		changed := m.resolveAll(ctx)
		m.tellFound()
		if changed {
			m.apply.Lock()
			err := m.applyAll(ctx, c)
			m.apply.Unlock()
			if err != nil && ctx.Err() == nil {
				m.log.Warn("not everything could be loaded", "event", "resolve", "reason", err)
			}
			m.wakeDialer()
		}
		select {
		case <-ctx.Done():
			return
		case <-m.auth.newHost:
		case <-time.After(resolvePause):
		}
	}
}

// resolveAll looks up all names, and tells whether one of them stands for another address than before.
func (m *Manager) resolveAll(ctx context.Context) bool {
	m.mu.Lock()
	wanted := map[host]bool{}
	for _, t := range m.tunnels {
		if key := hostKey(t.want); t.declared && key != (host{}) {
			wanted[key] = true
		}
	}
	known := maps.Clone(m.auth.hosts)
	m.mu.Unlock()
	var mu sync.Mutex
	found, failed := map[host]netip.Addr{}, map[host]error{}
	var workers sync.WaitGroup
	room := make(chan struct{}, resolvesAtOnce)
	for key := range wanted {
		room <- struct{}{}
		workers.Go(func() {
			defer func() { <-room }()
			addr, err := m.lookUp(ctx, key, known[key])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				addr, failed[key] = known[key], err
			}
			found[key] = addr
		})
	}
	workers.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.tunnels {
		if err := failed[hostKey(t.want)]; t.declared && err != nil && !t.up() && !found[hostKey(t.want)].IsValid() {
			m.found = append(m.found, t.nameless(err, time.Now())...)
		}
	}
	changed := !maps.Equal(m.auth.hosts, found)
	m.auth.hosts = found
	return changed
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
