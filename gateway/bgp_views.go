package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"bulkhead/bgp"
)

const (
	// maxAsked is how many speakers are asked at the same time.
	maxAsked = 64
	// unknown is the state of what a speaker that does not answer would tell.
	unknown = "unknown"
)

// BGPQuery chooses rows of BGP's views; what is empty chooses all.
type BGPQuery struct {
	Tenant string
	bgp.RouteQuery
}

// speakers are the plans of the tenants that are asked for and declare BGP, with the peer that is asked for.
func (g *Gateway) speakers(q BGPQuery) ([]*TenantPlan, error) {
	plan, err := g.inForce()
	if err != nil {
		return nil, err
	}
	var found []*TenantPlan
	declared := false
	for _, t := range plan.Tenants {
		if t.BGP == nil || (q.Tenant != "" && t.Name != q.Tenant) {
			continue
		}
		declared = true
		if q.Peer == "" || slices.ContainsFunc(t.BGP.Peers, func(p bgp.Peer) bool { return p.Name == q.Peer }) {
			found = append(found, t)
		}
	}
	switch {
	case q.Tenant != "" && plan.tenant(q.Tenant) == nil:
		return nil, fmt.Errorf("no tenant is called %q; declared are %v", q.Tenant, plan.names())
	case q.Tenant != "" && !declared:
		return nil, fmt.Errorf("tenant %s declares no bgp", q.Tenant)
	case q.Peer != "" && len(found) == 0 && q.Tenant != "":
		return nil, fmt.Errorf("tenant %s has no BGP peer %q; `bulkhead show bgp peers` lists them", q.Tenant, q.Peer)
	case q.Peer != "" && len(found) == 0:
		return nil, fmt.Errorf("no tenant has a BGP peer %q; `bulkhead show bgp peers` lists them", q.Peer)
	}
	return found, nil
}

// askSpeakers puts together what ask finds out of each tenant's speaker that is asked for, in order. They are asked at once,
// so that those that hang are waited for together. The row of one that fails is unanswered's; where one tenant was asked for, its
// failure is that of all.
func askSpeakers[Row any](g *Gateway, q BGPQuery, ask func(*TenantPlan) ([]Row, error),
	unanswered func(tenant string, err error) Row,
) ([]Row, error) {
	tenants, err := g.speakers(q)
	if err != nil {
		return nil, err
	}
	rows, answers, errs := []Row{}, make([][]Row, len(tenants)), make([]error, len(tenants))
	slots := make(chan struct{}, maxAsked)
	var all sync.WaitGroup
	for i, t := range tenants {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			answers[i], errs[i] = ask(t)
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil && q.Tenant != "" {
			return nil, err
		}
		if err != nil {
			answers[i] = []Row{unanswered(tenants[i].Name, err)}
		}
		rows = append(rows, answers[i]...)
	}
	return rows, nil
}

// BGP lists the tenants' speakers.
func (g *Gateway) BGP(ctx context.Context, q BGPQuery) ([]BGPRow, error) {
	return askSpeakers(g, q, func(t *TenantPlan) ([]BGPRow, error) { return []BGPRow{g.speakerRow(ctx, t)}, nil }, nil)
}

func (g *Gateway) speakerRow(ctx context.Context, t *TenantPlan) BGPRow {
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
	return row
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
	return askSpeakers(g, q, func(t *TenantPlan) ([]BGPPeerRow, error) {
		peers, err := g.bgp.Peers(ctx, t.Name)
		if err != nil {
			peers = unknownPeers(t.BGP, err)
		}
		var rows []BGPPeerRow
		for _, p := range peers {
			if q.Peer == "" || p.Name == q.Peer {
				rows = append(rows, peerRow(t.Name, p))
			}
		}
		return rows, nil
	}, nil)
}

// unknownPeers are what is declared of peers whose speaker does not answer.
func unknownPeers(declared *bgp.Config, away error) []bgp.PeerState {
	states := make([]bgp.PeerState, len(declared.Peers))
	for n, p := range declared.Peers {
		states[n] = bgp.PeerState{
			Name: p.Name, Address: p.Address, LocalAddress: p.LocalAddress, ASN: p.ASN, State: unknown, LastError: away.Error(),
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

// BGPRoutes lists the paths that tenants' speakers know, those included that were refused. Where all tenants are asked for,
// a speaker that does not answer has one row that says why.
func (g *Gateway) BGPRoutes(ctx context.Context, q BGPQuery) ([]BGPRouteRow, error) {
	return askSpeakers(g, q, func(t *TenantPlan) (rows []BGPRouteRow, err error) {
		for r, err := range g.bgp.Routes(ctx, t.Name, q.RouteQuery) {
			if err != nil {
				return nil, err
			}
			rows = append(rows, routeRow(t.Name, r))
		}
		return rows, nil
	}, func(tenant string, err error) BGPRouteRow {
		return BGPRouteRow{Tenant: tenant, State: unknown, Why: err.Error()}
	})
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

// BGPAdvertised lists what tenants' speakers tell their peers. Where all tenants are asked for, a speaker that does not
// answer has one row that says why.
func (g *Gateway) BGPAdvertised(ctx context.Context, q BGPQuery) ([]BGPAdvertisedRow, error) {
	return askSpeakers(g, q, func(t *TenantPlan) ([]BGPAdvertisedRow, error) { return g.advertised(ctx, t, q) },
		func(tenant string, err error) BGPAdvertisedRow {
			return BGPAdvertisedRow{Tenant: tenant, Error: err.Error()}
		})
}

func (g *Gateway) advertised(ctx context.Context, t *TenantPlan, q BGPQuery) (rows []BGPAdvertisedRow, err error) {
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
	return rows, nil
}
