package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

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
	if err == nil {
		err = g.applyTenants(ctx, gone, nil)
	}
	if err != nil && ctx.Err() == nil {
		g.log.Error("tenants that nobody declares not removed; trying again", "error", err)
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

// watchNICs applies the Default compartment's plan again when a NIC that it names appears anew, as after a driver was
// loaded again, until ctx ends.
func (g *Gateway) watchNICs(ctx context.Context) error {
	updates := make(chan netlink.LinkUpdate)
	done := make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return fmt.Errorf("watch the NICs: %w", err)
	}
	indexes := map[string]int{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case update, ok := <-updates:
			if !ok {
				return errors.New("watch the NICs: the kernel ended the subscription")
			}
			name, index := update.Attrs().Name, update.Attrs().Index
			if !g.isNIC(name) || indexes[name] == index {
				continue
			}
			if indexes[name] != 0 {
				g.log.Warn("NIC appeared anew", "nic", name)
			}
			indexes[name] = index
			g.reapplyDefault(ctx)
		}
	}
}

// isNIC tells whether the plan in force names the NIC.
func (g *Gateway) isNIC(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plan != nil && (name == g.plan.Doors.Backend || name == g.plan.Doors.External)
}

// reapplyDefault brings the Default compartment to the plan in force again.
func (g *Gateway) reapplyDefault(ctx context.Context) {
	g.applying.Lock()
	defer g.applying.Unlock()
	g.mu.Lock()
	plan := g.plan
	g.mu.Unlock()
	if plan == nil {
		return
	}
	if err := g.applyDefault(ctx, plan); err != nil && ctx.Err() == nil {
		g.log.Error("default compartment", "error", err)
	}
}
