package gateway

import (
	"context"
	"fmt"
	"slices"

	"bulkhead/vpn"
)

// TunnelAction is what an operator does to a site-to-site tunnel.
type TunnelAction string

// What can be done to a tunnel. Whether its interface is enabled is a matter of policy, which outlives the daemon: see
// [Gateway.Change].
const (
	// TunnelConnect dials and waits for the outcome (Connect-VpnS2SInterface).
	TunnelConnect TunnelAction = "connect"
	// TunnelDisconnect ends the tunnel; one on demand comes back with the next packet (Disconnect-VpnS2SInterface).
	TunnelDisconnect TunnelAction = "disconnect"
	// TunnelReset ends the tunnel, forgets failures and dials anew.
	TunnelReset TunnelAction = "reset"
)

// TunnelActions are all of them, in the order in which they are told to operators.
func TunnelActions() []TunnelAction {
	return []TunnelAction{TunnelConnect, TunnelDisconnect, TunnelReset}
}

// Tunnel does something to the tunnel of a tenant's interface and waits until it is done. The error says why it is not.
func (g *Gateway) Tunnel(ctx context.Context, tenant, iface string, action TunnelAction) error {
	ctx, cancel := g.alive(ctx)
	defer cancel()
	plan, err := g.inForce()
	if err != nil {
		return err
	}
	t := plan.tenant(tenant)
	if t == nil {
		return fmt.Errorf("no tenant is called %q; declared are %v", tenant, plan.names())
	}
	if _, ok := t.tunnels()[iface]; !ok {
		return fmt.Errorf("tenant %s has no site-to-site interface %q", tenant, iface)
	}
	if f := g.following(tenant); f != nil {
		defer f.changed()
	}
	switch action {
	case TunnelConnect:
		return g.vpn.Connect(ctx, tenant, iface)
	case TunnelDisconnect:
		return g.vpn.Disconnect(ctx, tenant, iface)
	case TunnelReset:
		return g.vpn.Reset(ctx, tenant, iface)
	}
	return fmt.Errorf("%q cannot be done to a tunnel; there are %v", action, TunnelActions())
}

// vpn are the tenant's tunnels as charon is to have them, those included that policy disables while the plan is in force.
func (t *TenantPlan) vpn() []vpn.Interface {
	t.policy.mu.Lock()
	defer t.policy.mu.Unlock()
	interfaces := slices.Clone(t.VPN)
	for n := range interfaces {
		interfaces[n].Disabled = t.disabled(interfaces[n].Name)
	}
	return interfaces
}

// tunnels are the site-to-site interfaces, and whether a packet may dial them.
func (t *TenantPlan) tunnels() map[string]bool {
	t.policy.mu.Lock()
	defer t.policy.mu.Unlock()
	return t.dials()
}
