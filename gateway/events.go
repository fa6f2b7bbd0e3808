package gateway

import (
	"context"
	"errors"
	"net/netip"

	"bulkhead/internal/netns"
	"bulkhead/nat"
)

// routeEvents passes on what happens to tunnels to those who follow them, as long as their source runs. That ends with
// ctx, but not before all of its events are taken: where charon ends at the same time, there is one of each tunnel.
func (g *Gateway) routeEvents(ctx context.Context, source func(context.Context) error) error {
	ended := make(chan error, 1)
	go func() { ended <- source(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case event := <-g.events:
			if f := g.following(event.Tenant); f != nil {
				f.heard(event)
				g.repolice()
			}
		}
	}
}

// charonReady does what had to wait until charon was reached: what the kernel remembered of tunnels gives way to what is
// known, and tenants go that only charon still knows. A daemon that starts before charon answers cannot see them when it
// takes up its declaration.
func (g *Gateway) charonReady(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-g.vpn.Ready():
	}
	g.mu.Lock()
	for _, f := range g.followers {
		f.changed()
	}
	g.mu.Unlock()
	g.applying.Lock()
	defer g.applying.Unlock()
	g.mu.Lock()
	plan := g.plan
	g.mu.Unlock()
	if plan == nil {
		return nil // nothing is taken up yet; Apply sweeps
	}
	gone, err := g.undeclared(ctx, plan)
	if err := errors.Join(err, g.applyTenants(ctx, gone, nil)); err != nil && ctx.Err() == nil {
		g.log.Error("not all that nobody declares could be removed", "error", err)
	}
	return nil
}

// forget drops the sessions in ns that were translated to the Internet although they belong to prefixes.
func (g *Gateway) forget(ctx context.Context, ns *netns.Namespace, tenant string, prefixes []netip.Prefix) error {
	if len(prefixes) == 0 {
		return nil
	}
	dropped, err := nat.Forget(ctx, ns, prefixes)
	if dropped > 0 {
		g.log.Warn("sessions of a site's prefixes that were leaving by NAT are ended", "tenant", tenant,
			"sessions", dropped)
	}
	return err
}
