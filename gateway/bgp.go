package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"bulkhead/bgp"
	"bulkhead/internal/netns"
	"bulkhead/vpn"
)

// BGPQuery chooses rows of BGP's views; what is empty chooses all.
type BGPQuery struct {
	Tenant string
	bgp.RouteQuery
}

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

// setBGP brings the tenant's speaker to the plan.
func (g *Gateway) setBGP(ctx context.Context, ns *netns.Namespace, plan *TenantPlan) error {
	return g.bgp.Set(ctx, ns, plan.Name, plan.bgp())
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

// speakers are the plans of the tenants that are asked for and declare BGP.
func (g *Gateway) speakers(tenant string) ([]*TenantPlan, error) {
	plan, err := g.inForce()
	if err != nil {
		return nil, err
	}
	var found []*TenantPlan
	for _, t := range plan.Tenants {
		if t.BGP != nil && (tenant == "" || t.Name == tenant) {
			found = append(found, t)
		}
	}
	switch {
	case len(found) > 0 || tenant == "":
		return found, nil
	case plan.tenant(tenant) == nil:
		return nil, fmt.Errorf("no tenant is called %q; declared are %v", tenant, plan.names())
	}
	return nil, fmt.Errorf("tenant %s declares no bgp", tenant)
}

// BGP lists the tenants' speakers.
func (g *Gateway) BGP(ctx context.Context, q BGPQuery) ([]BGPRow, error) {
	tenants, err := g.speakers(q.Tenant)
	if err != nil {
		return nil, err
	}
	rows := []BGPRow{}
	for _, t := range tenants {
		row := BGPRow{Tenant: t.Name, Identifier: t.BGP.Identifier, ASN: t.BGP.ASN, Peers: len(t.BGP.Peers)}
		status, err := g.bgp.Status(ctx, t.Name)
		var peers []bgp.PeerState
		if err == nil {
			peers, err = g.bgp.Peers(ctx, t.Name)
		}
		switch {
		case err != nil:
			row.State, row.Error = "away", err.Error()
		case !status.Configured:
			row.State = "starting"
		case status.Restarting:
			row.State = "restarting"
		default:
			row.State = "running"
		}
		for _, p := range peers {
			if p.State == bgp.Established {
				row.Established++
			}
		}
		row.Since, row.PID, row.Version = at(status.Since), status.PID, status.Version
		row.IPv4Routes, row.IPv6Routes, row.Withdrawn = status.IPv4Routes, status.IPv6Routes, status.Withdrawn
		row.PrivateBytes = status.PrivateBytes
		rows = append(rows, row)
	}
	return rows, nil
}

// at is a time as rows show it: nil where there is none.
func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// BGPPeers lists the peers of tenants' speakers. Of a speaker that does not answer, they are shown with its error.
func (g *Gateway) BGPPeers(ctx context.Context, q BGPQuery) ([]BGPPeerRow, error) {
	tenants, err := g.speakers(q.Tenant)
	if err != nil {
		return nil, err
	}
	rows := []BGPPeerRow{}
	for _, t := range tenants {
		peers, err := g.bgp.Peers(ctx, t.Name)
		if err != nil {
			peers = unknownPeers(t.BGP, err)
		}
		for _, p := range peers {
			if q.Peer == "" || p.Name == q.Peer {
				rows = append(rows, peerRow(t.Name, p))
			}
		}
	}
	return rows, nil
}

// unknownPeers are what is declared of peers whose speaker does not answer.
func unknownPeers(declared *bgp.Config, away error) []bgp.PeerState {
	states := make([]bgp.PeerState, len(declared.Peers))
	for n, p := range declared.Peers {
		states[n] = bgp.PeerState{
			Name: p.Name, Address: p.Address, LocalAddress: p.LocalAddress, ASN: p.ASN, State: "unknown", LastError: away.Error(),
		}
	}
	return states
}

func peerRow(tenant string, p bgp.PeerState) BGPPeerRow {
	row := BGPPeerRow{
		Tenant: tenant, Peer: p.Name, Address: p.Address, LocalAddress: p.LocalAddress, ASN: p.ASN, State: p.State,
		Since: at(p.Since), Interface: p.Interface, Flaps: p.Flaps, MD5: p.MD5, BFD: p.BFD, LastError: p.LastError,
		LastErrorAt: at(p.LastErrorAt), PeerIdentifier: p.PeerIdentifier,
		HoldTimeSeconds: int64(p.HoldTime.Seconds()), KeepaliveIntervalSeconds: int64(p.KeepaliveInterval.Seconds()),
		Capabilities: p.Capabilities, Refused: p.Refused,
		MessagesReceived: BGPMessagesRow(p.Received), MessagesSent: BGPMessagesRow(p.Sent),
	}
	for _, f := range p.Families {
		row.Received += f.Received
		row.Accepted += f.Accepted
		row.Advertised += f.Advertised
		row.Families = append(row.Families, BGPFamilyRow(f))
	}
	return row
}

// BGPRoutes lists the paths that tenants' speakers know, those included that were refused.
func (g *Gateway) BGPRoutes(ctx context.Context, q BGPQuery) ([]BGPRouteRow, error) {
	tenants, err := g.speakers(q.Tenant)
	if err != nil {
		return nil, err
	}
	rows := []BGPRouteRow{}
	for _, t := range tenants {
		for r, err := range g.bgp.Routes(ctx, t.Name, q.RouteQuery) {
			if err != nil {
				return nil, err
			}
			rows = append(rows, routeRow(t.Name, r))
		}
	}
	return rows, nil
}

func routeRow(tenant string, r bgp.Route) BGPRouteRow {
	row := BGPRouteRow{
		Tenant: tenant, Prefix: r.Prefix, Peer: r.Peer, NextHop: r.NextHop, Interfaces: r.Interfaces, ASPath: r.ASPath,
		Origin: r.Origin, LocalPreference: r.LocalPreference, MED: r.MED, Communities: r.Communities, Why: r.Why, Since: at(r.Since),
	}
	var states []string
	for _, s := range []struct {
		word string
		is   bool
	}{{"best", r.Best}, {"used", r.Used}, {"refused", r.Refused}, {"stale", r.Stale}} {
		if s.is {
			states = append(states, s.word)
		}
	}
	row.State = strings.Join(states, ",")
	return row
}

// BGPAdvertised lists what tenants' speakers tell their peers.
func (g *Gateway) BGPAdvertised(ctx context.Context, q BGPQuery) ([]BGPAdvertisedRow, error) {
	tenants, err := g.speakers(q.Tenant)
	if err != nil {
		return nil, err
	}
	rows := []BGPAdvertisedRow{}
	for _, t := range tenants {
		for _, p := range t.BGP.Peers {
			if q.Peer != "" && p.Name != q.Peer {
				continue
			}
			to := q.RouteQuery
			to.Peer = p.Name
			for r, err := range g.bgp.Advertised(ctx, t.Name, to) {
				if err != nil {
					return nil, fmt.Errorf("peer %s: %w", p.Name, err)
				}
				rows = append(rows, BGPAdvertisedRow{
					Tenant: t.Name, Peer: p.Name, Prefix: r.Prefix, NextHop: r.NextHop, ASPath: r.ASPath, Origin: r.Origin,
					LocalPreference: r.LocalPreference, MED: r.MED, Communities: r.Communities,
				})
			}
		}
	}
	return rows, nil
}

// ResetBGPPeer ends the session of a tenant's speaker with a peer and lets it come back at once; soft: routes are exchanged
// anew and the session stays.
func (g *Gateway) ResetBGPPeer(ctx context.Context, tenant, peer string, soft bool) error {
	ctx, cancel := g.alive(ctx)
	defer cancel()
	tenants, err := g.speakers(tenant)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		if t.Name == tenant && slices.ContainsFunc(t.BGP.Peers, func(p bgp.Peer) bool { return p.Name == peer }) {
			return g.bgp.Reset(ctx, tenant, peer, soft)
		}
	}
	return fmt.Errorf("tenant %s has no BGP peer %q; `bulkhead show bgp peers` lists them", tenant, peer)
}

// RestartBGP exchanges the process of a tenant's speaker for one of this daemon's version. With graceful restart routes
// stay meanwhile.
func (g *Gateway) RestartBGP(ctx context.Context, tenant string) error {
	ctx, cancel := g.alive(ctx)
	defer cancel()
	if _, err := g.speakers(tenant); err != nil {
		return err
	}
	return g.bgp.Restart(ctx, tenant)
}
