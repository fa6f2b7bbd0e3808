package gateway

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"bulkhead/internal/netns"
	"bulkhead/trigger"
	"bulkhead/vpn"
)

// follower keeps one tenant's routes, held packets and translated sessions as the states of its tunnels demand. Each tenant
// has one, so that a tenant whose compartment is slow to change holds up no other.
type follower struct {
	g      *Gateway
	tenant string
	kick   chan struct{} // something may have changed
	cancel context.CancelFunc
	ended  chan struct{}

	// following is held while the kernel is made to follow, and while a plan is taken up. It is taken before plan.writing.
	following sync.Mutex
	// plan is what the routes and held packets go by, nil at first; guarded by following. Until the filters and limits of the
	// plan in force stand, it is the one before (law 4).
	plan *TenantPlan

	mu sync.Mutex // guards what follows
	// trigger is nil until the compartment stands.
	trigger *trigger.Trigger
	// adopted is what the kernel remembers of the interfaces' tunnels, as long as nothing else is known of them.
	adopted map[string]vpn.State
	// asked are the interfaces whose sites were unreachable then and have been dialled again.
	asked map[string]bool
	// up are the interfaces that were connected when last looked at, and have no session that left by NAT before.
	up map[string]bool

	// peering guards peers. It is held for a moment only, since the events of all tenants pass by it.
	peering sync.Mutex
	// peers are the addresses that the other ends of tunnels have now.
	peers map[string]netip.Addr
}

// follower is the named tenant's, started where there is none.
func (g *Gateway) follower(tenant string) *follower {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.followers[tenant]; f != nil {
		return f
	}
	ctx, cancel := context.WithCancel(g.ctx)
	f := &follower{
		g: g, tenant: tenant, kick: make(chan struct{}, 1), cancel: cancel, ended: make(chan struct{}),
		asked: map[string]bool{}, up: map[string]bool{}, peers: map[string]netip.Addr{},
	}
	g.followers[tenant] = f
	go f.run(ctx)
	return f
}

// following is the named tenant's follower, nil where there is none.
func (g *Gateway) following(tenant string) *follower {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.followers[tenant]
}

// unfollow ends the named tenant's follower. Packets that are held are dropped, as with a daemon that dies.
func (g *Gateway) unfollow(tenant string) error {
	g.mu.Lock()
	f := g.followers[tenant]
	delete(g.followers, tenant)
	g.mu.Unlock()
	if f == nil {
		return nil
	}
	return f.stop()
}

func (f *follower) stop() error {
	f.cancel()
	<-f.ended
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trigger == nil {
		return nil
	}
	defer func() { f.trigger = nil }()
	return f.trigger.Close()
}

// heard takes note of what happened to a tunnel.
func (f *follower) heard(e vpn.Event) {
	f.peering.Lock()
	switch e.Kind {
	case vpn.Up, vpn.Adopted:
		// A neighbour on the link itself is not bounded: its address is nobody's at door 2.
		if peer, err := netip.ParseAddrPort(e.Peer); err == nil && peer.Addr().IsGlobalUnicast() {
			f.peers[e.Interface] = peer.Addr()
		}
	case vpn.Down:
		delete(f.peers, e.Interface)
	}
	f.peering.Unlock()
	f.changed()
}

// peer is the address that the other end of an interface's tunnel has now; not valid where there is none.
func (f *follower) peer(iface string) netip.Addr {
	f.peering.Lock()
	defer f.peering.Unlock()
	return f.peers[iface]
}

// changed has the follower look at the tunnels soon.
func (f *follower) changed() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

func (f *follower) run(ctx context.Context) {
	defer close(f.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.kick:
		}
		if err := f.follow(ctx); err != nil && ctx.Err() == nil {
			f.g.log.Error("routes do not follow the tunnels; trying again", "tenant", f.tenant, "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(minRetry):
				f.changed()
			}
		}
	}
}

// takeUp makes a plan what the compartment is and what is followed, once its filters and limits stand.
func (f *follower) takeUp(ctx context.Context, ns *netns.Namespace, plan *TenantPlan) error {
	f.following.Lock()
	defer f.following.Unlock()
	if err := f.prepare(ctx, ns, plan); err != nil {
		return err
	}
	f.plan = plan
	plan.writing.Lock()
	defer plan.writing.Unlock()
	return f.g.compartments.Set(ctx, ns, plan.compartment(f.state()))
}

// prepare gets the compartment ready to hold packets, before its links come up, and remembers what the kernel knows of
// tunnels from before this daemon.
func (f *follower) prepare(ctx context.Context, ns *netns.Namespace, plan *TenantPlan) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.adopted == nil {
		standing, err := f.g.compartments.State(ctx, ns)
		if err != nil {
			return err
		}
		f.adopted = remembered(plan.SiteRoutes, plan.tunnels(), standing)
	}
	links := slices.Sorted(maps.Keys(plan.tunnels()))
	if f.trigger == nil {
		if len(links) == 0 {
			return trigger.Remove(ns)
		}
		var err error
		f.trigger, err = trigger.Open(ns, trigger.Options{
			Log:    f.g.log.With("tenant", f.tenant),
			Wanted: func(iface string) { f.g.vpn.Dial(f.tenant, iface) },
		})
		if err != nil {
			return err
		}
	}
	return f.trigger.Set(links)
}

// state of an interface's tunnel; empty where the interface has not been declared to charon's manager yet. What charon has
// not been asked about is as the kernel remembers it; a site that was unreachable before the daemon began is so until its
// tunnel comes up.
func (f *follower) state() func(iface string) vpn.State {
	states := f.g.vpn.States(f.tenant)
	ready := f.g.charonKnown()
	f.mu.Lock()
	defer f.mu.Unlock()
	adopted := maps.Clone(f.adopted)
	for iface, s := range states {
		if ready && adopted[iface] == vpn.Unreachable && !f.asked[iface] {
			f.asked[iface] = true
			f.g.vpn.Dial(f.tenant, iface) // as the earlier daemon did, from time to time
		}
		if known := s == vpn.Connected || s == vpn.Unreachable; known || ready && adopted[iface] == vpn.Connected {
			delete(adopted, iface)
			if ready {
				delete(f.adopted, iface)
			}
		}
	}
	return func(iface string) vpn.State {
		if s, ok := adopted[iface]; ok {
			return s
		}
		return states[iface]
	}
}

// follow brings routes and held packets to what the tunnels' states demand; a route that fails keeps no packets waiting.
// A session that left by NAT while its site was unreachable must not outlive that (law 1).
func (f *follower) follow(ctx context.Context) error {
	f.following.Lock()
	defer f.following.Unlock()
	if f.plan == nil {
		return nil
	}
	ns, err := f.g.compartments.Open(f.tenant)
	if errors.Is(err, os.ErrNotExist) {
		return nil // removed meanwhile
	} else if err != nil {
		return err
	}
	defer ns.Close()
	f.plan.writing.Lock()
	defer f.plan.writing.Unlock()
	state := f.state()
	if f.plan.BGP != nil && f.g.charonKnown() {
		f.g.bgp.SetTunnels(f.tenant, tunnelsDown(f.plan.tunnels(), state)) // first: other ways are found meanwhile
	}
	errs := []error{f.g.compartments.SetRoutes(ctx, ns, f.plan.compartment(state).Routes)}
	cameUp, err := f.hold(f.plan, state, f.g.charonKnown())
	for _, iface := range cameUp {
		err := f.g.forget(ctx, ns, f.tenant, f.plan.Sites[iface])
		if err == nil {
			f.settled(iface)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, err)...)
}

// settled notes that no session of an interface that came up leaves by NAT any more.
func (f *follower) settled(iface string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.up[iface] = true
}

// hold tells the trigger what to do with packets into each tunnel, and returns the interfaces that came up since, until
// they are settled. Until charon has been reached, and was told of the interface, packets are treated as the daemon before
// left it: a tunnel that stands goes on.
func (f *follower) hold(plan *TenantPlan, state func(iface string) vpn.State, known bool) (cameUp []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for iface, dials := range plan.tunnels() {
		now := state(iface)
		if now == vpn.Connected && !f.up[iface] {
			cameUp = append(cameUp, iface)
		}
		f.up[iface] = f.up[iface] && now == vpn.Connected
		switch {
		case f.trigger == nil:
		case now == vpn.Connected:
			errs = append(errs, f.trigger.Release(iface))
		case !known, now == "":
		case now == vpn.Connecting, now != vpn.Unreachable && dials:
			errs = append(errs, f.trigger.Hold(iface))
		default:
			errs = append(errs, f.trigger.Refuse(iface))
		}
	}
	return cameUp, errors.Join(errs...)
}

// charonKnown tells whether charon has been reached, so that it is known which tunnels stand.
func (g *Gateway) charonKnown() bool {
	select {
	case <-g.vpn.Ready():
		return true
	default:
		return false
	}
}
