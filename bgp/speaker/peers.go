package speaker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// applyPeers makes GoBGP's peers those of s.config. The caller holds s.mu.
func (s *Speaker) applyPeers(ctx context.Context) error {
	var errs []error
	wanted := map[netip.Addr]bool{}
	for _, peer := range s.config.Peers {
		wanted[peer.Address] = true
		if err := s.applyPeer(ctx, peer); err != nil {
			errs = append(errs, fmt.Errorf("peer %s: %w", peer.Name, err))
		}
	}
	for _, address := range slices.SortedFunc(maps.Keys(s.sessions), netip.Addr.Compare) {
		if one := s.sessions[address]; !wanted[address] {
			errs = append(errs, s.takeOut(ctx, one, "not declared any more"))
			one.stopTimers()
			delete(s.sessions, address)
			s.journal.forget(address)
		}
	}
	return errors.Join(errs...)
}

func (s *Speaker) applyPeer(ctx context.Context, peer bgp.Peer) error {
	one, ok := s.sessions[peer.Address]
	if !ok {
		one = &session{peer: peer}
		s.sessions[peer.Address] = one
	}
	was := one.peer
	one.peer = peer
	switch {
	case peer.Stopped:
		one.letBack()
		return s.takeOut(ctx, one, "stopped by an operator")
	case one.overLimit && was.MaximumPrefixes == peer.MaximumPrefixes && was.RestartAfter == peer.RestartAfter:
		return nil
	case !one.there:
		one.letBack()
		return s.putIn(ctx, one)
	}
	switch changed(one.under, was, s.config, peer) {
	case anew:
		if err := s.takeOut(ctx, one, "declared otherwise"); err != nil {
			return err
		}
		return s.putIn(ctx, one)
	case inPlace:
		if _, err := s.server.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: neighbor(s.config, peer, false)}); err != nil {
			one.peer = was // so that it is tried again
			return err
		}
	}
	one.under = s.config
	return nil
}

// letBack ends that a peer is kept out for its many prefixes. The speaker's mu guards it.
func (one *session) letBack() {
	one.overLimit = false
	if one.back != nil {
		one.back.Stop()
		one.back = nil
	}
}

// putIn gives the peer to GoBGP. One with a password does not start before the kernel's sockets have it. The caller holds
// s.mu.
func (s *Speaker) putIn(ctx context.Context, one *session) error {
	peer := one.peer
	one.letBack()
	one.state, one.md5, one.told, one.cause = gobgp.BGP_FSM_IDLE, "", map[gobgp.Family]bool{}, ""
	one.sample, one.counts = sample{}, counts{}
	if err := s.server.AddPeer(ctx, &api.AddPeerRequest{Peer: neighbor(s.config, peer, s.restart != nil)}); err != nil {
		return err
	}
	one.there, one.under, one.signs = true, s.config, peer.Password != ""
	if peer.Password == "" {
		return nil
	}
	err := s.signed(peer)
	if err == nil {
		err = s.server.EnablePeer(ctx, &api.EnablePeerRequest{Address: peer.Address.String()})
	}
	if err != nil {
		one.md5 = err.Error()
		one.fail("no TCP MD5 signature (RFC 2385): " + one.md5)
		return errors.Join(fmt.Errorf("the password is not in force, so the session is not started: %w", err),
			s.takeOut(ctx, one, one.lastError))
	}
	return nil
}

// takeOut takes the peer from GoBGP, with a word to it and with all that it told. The caller holds s.mu.
func (s *Speaker) takeOut(ctx context.Context, one *session, why string) error {
	if one.stale != nil {
		one.stale.Stop()
		one.stale = nil
	}
	if !one.there {
		return nil
	}
	address := one.peer.Address.String()
	var errs []error
	if one.signs {
		// The key goes with a change of the peer only, not with the peer. One that comes back without could not connect.
		silent := &api.Peer{Conf: &api.PeerConf{NeighborAddress: address, PeerAsn: one.peer.ASN, LocalAsn: s.config.ASN,
			AdminDown: true}}
		_, err := s.server.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: silent})
		errs = append(errs, err)
	}
	one.there = false
	s.feed.forget(one.peer.Address)
	errs = append(errs, s.server.DeletePeer(ctx, &api.DeletePeerRequest{Address: address}))
	s.ended(one, why)
	return errors.Join(errs...)
}

// again takes the peer out and puts it back: what it told is gone at once, also what was kept while it starts again (RFC
// 4724), and the session is tried without delay. The caller holds s.mu.
func (s *Speaker) again(ctx context.Context, one *session, why string) error {
	if err := s.takeOut(ctx, one, why); err != nil {
		return err
	}
	return s.putIn(ctx, one)
}

// A peer whose session ended sooner than shortSession is let back in after shortWait.
const (
	shortSession = 10 * time.Second
	shortWait    = time.Second
)

// renew gives GoBGP a new peer for the next session, after one that lasted so long: what GoBGP had still to tell in this one
// is not for the next. The caller holds s.mu.
func (s *Speaker) renew(one *session, lasted time.Duration) error {
	if err := s.takeOut(s.life, one, "the session is over"); err != nil {
		return err
	}
	if lasted >= shortSession {
		return s.putIn(s.life, one)
	}
	address := one.peer.Address
	one.back = time.AfterFunc(shortWait, func() { s.readmit(s.life, address) })
	return nil
}

// reset ends the session with a word to the peer, or tries it at once where there is none. The caller holds s.mu.
func (s *Speaker) reset(ctx context.Context, one *session, why string) error {
	switch {
	case one.peer.Stopped:
		return fmt.Errorf("peer %s is stopped: start it instead", one.peer.Name)
	case one.overLimit:
		one.letBack()
		return s.putIn(ctx, one)
	case one.established():
		one.cause = why
		return s.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: one.peer.Address.String()})
	}
	return s.again(ctx, one, why)
}

// refresh has all routes of a session go through the policies anew, in both directions. The caller holds s.mu.
func (s *Speaker) refresh(ctx context.Context, one *session) error {
	if !one.established() {
		return fmt.Errorf("peer %s has no session", one.peer.Name)
	}
	return s.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: one.peer.Address.String(), Soft: true,
		Direction: api.ResetPeerRequest_DIRECTION_BOTH})
}
