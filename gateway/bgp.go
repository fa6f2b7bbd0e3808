package gateway

import (
	"context"
	"errors"
	"os"
	"slices"

	"bulkhead/bgp"
	"bulkhead/internal/netns"
	"bulkhead/vpn"
)

// bgp is what the tenant's speaker is to be, nil for none, those peers stopped that policy stops while the plan is in force.
func (t *TenantPlan) bgp() *bgp.Config {
	if t.BGP == nil {
		return nil
	}
	t.policy.mu.Lock()
	defer t.policy.mu.Unlock()
	config := *t.BGP
	config.Peers = slices.Clone(config.Peers)
	for n := range config.Peers {
		config.Peers[n].Stopped = t.tenant.BGP.Peers[n].Stopped
	}
	return &config
}

// setBGP brings the tenant's speaker to the plan, as policy has it by then.
func (g *Gateway) setBGP(ctx context.Context, ns *netns.Namespace, plan *TenantPlan) error {
	plan.speaking.Lock()
	defer plan.speaking.Unlock()
	return g.bgp.Set(ctx, ns, plan.Name, plan.bgp())
}

// leave has BGP's routes leave links that are about to go; nil: the tenant has none.
func (g *Gateway) leave(ctx context.Context, plan *TenantPlan) func(links []string) error {
	if plan.BGP == nil {
		return nil
	}
	return func(links []string) error { return g.bgp.Leave(ctx, plan.Name, links) }
}

// changeBGP brings the tenant's speaker to policy that has changed.
func (g *Gateway) changeBGP(ctx context.Context, plan *TenantPlan) error {
	ns, err := g.compartments.Open(plan.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	return g.setBGP(ctx, ns, plan)
}

// removeBGP ends the named tenant's speaker, before its links go (law 9).
func (g *Gateway) removeBGP(ctx context.Context, name string) error {
	ns, err := g.compartments.Open(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if ns != nil {
		defer ns.Close()
	}
	return g.bgp.Set(ctx, ns, name, nil)
}

// tunnelsDown are the interfaces whose tunnels are known not to be connected: what BGP must not count on. Those that charon's
// manager has not been told of yet may be: sessions stand while a daemon starts.
func tunnelsDown(tunnels map[string]bool, state func(iface string) vpn.State) []string {
	down := []string{}
	for iface := range tunnels {
		if now := state(iface); now != vpn.Connected && now != "" {
			down = append(down, iface)
		}
	}
	slices.Sort(down)
	return down
}

// ResetBGPPeer ends the session of a tenant's speaker with a peer and lets it come back at once; soft: routes are exchanged
// anew and the session stays.
func (g *Gateway) ResetBGPPeer(ctx context.Context, tenant, peer string, soft bool) error {
	ctx, cancel := g.alive(ctx)
	defer cancel()
	if _, err := g.speakers(BGPQuery{Tenant: tenant, RouteQuery: bgp.RouteQuery{Peer: peer}}); err != nil {
		return err
	}
	return g.bgp.Reset(ctx, tenant, peer, soft)
}

// RestartBGP exchanges the process of a tenant's speaker for one of this daemon's version. With graceful restart routes
// stay meanwhile.
func (g *Gateway) RestartBGP(ctx context.Context, tenant string) error {
	ctx, cancel := g.alive(ctx)
	defer cancel()
	if _, err := g.speakers(BGPQuery{Tenant: tenant}); err != nil {
		return err
	}
	return g.bgp.Restart(ctx, tenant)
}
