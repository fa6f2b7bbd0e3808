package gateway

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"bulkhead/dataplane"
	"bulkhead/vpn"
)

// release makes tenants let go of what the plan gives to others, before any of them takes what is new to it. Two
// tenants that swap a VSID, a public address or a site would wait for each other for ever otherwise.
func (g *Gateway) release(ctx context.Context, before, plan *Plan) error {
	known, err := g.doors.Tenants()
	errs := []error{err}
	wanted := make([]dataplane.Tenant, len(plan.Tenants))
	for i, t := range plan.Tenants {
		wanted[i] = t.Doors
		delete(known, t.Doors.RoutingDomain)
	}
	for rdid := range known {
		// A tenant's former RDID holds what the tenant now wants under another.
		errs = append(errs, g.doors.RemoveTenant(rdid))
	}
	errs = append(errs, g.doors.Release(wanted))
	for tenant, kept := range releasedSites(before, plan) {
		if err := g.vpn.Set(ctx, tenant, kept); err != nil && !errors.Is(err, vpn.ErrNotConnected) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// releasedSites finds the tenants of both plans that had a site whose peer belongs to another tenant now, and what they
// keep of their tunnels.
func releasedSites(before, plan *Plan) map[string][]vpn.Interface {
	if before == nil {
		return nil // what charon has of a predecessor's gives way by itself
	}
	owners := map[string]string{}
	for _, t := range plan.Tenants {
		for _, i := range t.VPN {
			owners[peerIdentity(i)] = t.Name
		}
	}
	released := map[string][]vpn.Interface{}
	for _, t := range before.Tenants {
		kept := slices.DeleteFunc(slices.Clone(t.VPN), func(i vpn.Interface) bool {
			owner, taken := owners[peerIdentity(i)]
			return taken && owner != t.Name
		})
		if len(kept) < len(t.VPN) && plan.tenant(t.Name) != nil {
			released[t.Name] = kept
		}
	}
	return released
}

// peerIdentity is what a site's peer must present, which is one tunnel's only.
func peerIdentity(i vpn.Interface) string {
	return strings.ToLower(cmp.Or(i.UserName, i.RemoteID, i.PeerAddress.String()))
}
