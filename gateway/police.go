package gateway

import (
	"context"
	"net/netip"
	"time"

	"bulkhead/dataplane"
	"bulkhead/ratelimit"
)

// police keeps door 2's bounds on peers as tunnels come and go, until ctx ends. They spare the CPU before decryption what
// the tunnels' limits would drop after it.
func (g *Gateway) police(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.peersChanged:
		}
		if err := g.doors.SetPolicers(g.policers()); err != nil {
			g.log.Error("peers are not bounded as their tunnels' limits say; trying again", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(minRetry):
				g.repolice()
			}
		}
	}
}

// repolice has police look at the peers soon.
func (g *Gateway) repolice() {
	select {
	case g.peersChanged <- struct{}{}:
	default:
	}
}

// policers are the bounds on peers: at their declared addresses, which hold from the first packet, and at those that they
// have now.
func (g *Gateway) policers() []dataplane.Policer {
	var all []dataplane.Policer
	for _, t := range g.tenants() {
		f := g.following(t.Name)
		limits := map[string]ratelimit.Limit{}
		for _, l := range t.Limits {
			limits[l.Link] = l
		}
		for _, i := range t.VPN {
			peers := map[netip.Addr]bool{i.PeerAddress: i.PeerAddress.IsValid()}
			if f != nil {
				now := f.peer(i.Name)
				peers[now] = now.IsValid()
			}
			for peer, known := range peers {
				if known {
					all = append(all, dataplane.Policer{Peer: peer, Kbps: limits[i.Name].RxKbps})
				}
			}
		}
	}
	return all
}
