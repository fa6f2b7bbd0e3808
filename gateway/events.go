package gateway

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"bulkhead/internal/netns"
	"bulkhead/nat"
	"bulkhead/vpn"
)

// routeEvents decides what a tunnel's events mean to others, until ctx ends.
func (g *Gateway) routeEvents(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-g.events:
			if event.Kind != vpn.Up {
				continue
			}
			// Law 1: a session that left by NAT while the site was unreachable must not outlive that.
			if err := g.forgetSite(ctx, event.Tenant, event.Interface); err != nil {
				g.log.Error("sessions towards a connected site not cleared", "tenant", event.Tenant,
					"interface", event.Interface, "error", err)
			}
		}
	}
}

// sweepCharon removes tenants that only charon still knows, once it is there: a daemon that starts before charon answers
// cannot see them when it takes up its declaration.
func (g *Gateway) sweepCharon(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-g.vpn.Ready():
	}
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

// forgetSite drops the tenant's translated sessions to the prefixes of one site-to-site interface.
func (g *Gateway) forgetSite(ctx context.Context, tenant, site string) error {
	g.mu.Lock()
	var prefixes []netip.Prefix
	if plan := g.plan; plan != nil && plan.tenant(tenant) != nil {
		prefixes = plan.tenant(tenant).Sites[site]
	}
	g.mu.Unlock()
	if len(prefixes) == 0 {
		return nil
	}
	ns, err := g.compartments.Open(tenant)
	if errors.Is(err, os.ErrNotExist) {
		return nil // removed meanwhile
	} else if err != nil {
		return err
	}
	defer ns.Close()
	return g.forget(ctx, ns, tenant, prefixes)
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
