package speaker

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
)

// Sessions are looked at this often while nothing happens, and this often where a peer's prefixes become more.
const (
	idleLook = time.Second
	busyLook = 200 * time.Millisecond
	// Connections are looked at this often.
	connectionLook = 5 * time.Second
	// mostRefreshes is how often a peer may ask for all routes between two looks. Each time costs as much as all routes do.
	mostRefreshes = 10
	// lookShare bounds the time that looking takes: GoBGP counts a peer's prefixes one by one, and everything waits.
	// While routes come it waits itself, so that there is a bound to that.
	lookShare   = 50
	longestWait = 2 * time.Second
	// A peer with many prefixes that has said no more than a few KEEPALIVEs since is looked at this often only.
	quietLook   = 10 * time.Second
	quietOctets = 64
)

// rouse has the sessions looked at now.
func (s *Speaker) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// watchOver looks at the sessions for what GoBGP does not see to, or at too high a price: limits of prefixes (its own check
// counts the whole table for every update), peers that take nothing any more, and those that BFD says are gone while
// their routes are kept.
func (s *Speaker) watchOver() {
	timer := time.NewTimer(idleLook)
	defer timer.Stop()
	var open connections
	var opened time.Time
	var over excess
	for {
		select {
		case <-s.life.Done():
			return
		case <-timer.C:
		case <-s.wake:
		}
		began := time.Now()
		next := s.look(began)
		next = max(next, min(lookShare*time.Since(began), longestWait))
		if began.Sub(opened) >= connectionLook {
			opened = began
			s.lookAtConnections(&open, began)
		}
		s.lookAtExcess(&over, began)
		s.memory.look(began)
		timer.Reset(next)
	}
}

// lookAtConnections ends connections that come to no session, and guards BFD's socket.
func (s *Speaker) lookAtConnections(open *connections, now time.Time) {
	s.mu.Lock()
	ours, up := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for address, one := range s.sessions {
		ours[one.peer.LocalAddress] = true
		up[address] = one.established()
	}
	s.mu.Unlock()
	var err error
	if open.bfd, err = guardBFD(open.bfd); err != nil {
		s.log.Error("BFD may be spoken by who is farther away than a neighbour", "error", err)
	}
	ended, err := open.look(now, func(local, remote netip.Addr) bool { return !ours[local] || up[remote] })
	if err != nil {
		s.log.Error("connections that come to no session are not looked for", "error", err)
	}
	for _, address := range ended {
		s.log.Warn("BGP connection ended, since it came to no session", "address", address)
	}
}

// look looks at all sessions, and tells when to look again.
func (s *Speaker) look(now time.Time) (next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next = idleLook
	if s.server == nil || s.closed {
		return next
	}
	s.tellMissed()
	for address, one := range s.sessions {
		if !one.there {
			continue
		}
		if one.stale != nil && s.journal.read(address).dead {
			s.journal.over(address)
			s.act(one, s.again(s.life, one, "BFD says that the peer is gone"))
			continue
		}
		if !one.established() {
			continue
		}
		grows, err := s.lookAt(one, address, now)
		if err != nil {
			s.act(one, err)
		}
		if grows {
			next = busyLook
		}
	}
	return next
}

// lookAt looks at an established session, and tells whether it has more prefixes than before. The caller holds s.mu.
func (s *Speaker) lookAt(one *session, address netip.Addr, now time.Time) (grows bool, err error) {
	was := one.sample
	var heard uint64
	if was.received > manyPrefixes && one.pending == nil && one.due == nil {
		heard = received(address)
		if !was.grew && heard-was.heard <= quietOctets && now.Sub(was.counted) < quietLook {
			return false, nil
		}
	}
	var seen *api.Peer
	request := &api.ListPeerRequest{Address: address.String()}
	if err := s.server.ListPeer(s.life, request, func(p *api.Peer) { seen = p }); err != nil || seen == nil {
		return false, err
	}
	if err := s.settle(one, seen); err != nil {
		return false, err
	}
	messages := seen.GetState().GetMessages()
	is := sample{sent: messages.GetSent().GetTotal(), refreshes: messages.GetReceived().GetRefresh(), at: now,
		warned: was.warned, heard: heard, counted: now}
	if is.sent == was.sent && !was.at.IsZero() {
		is.at = was.at
	}
	agreed := time.Duration(seen.GetTimers().GetState().GetNegotiatedHoldTime()) * time.Second
	var most uint64
	for _, family := range seen.GetAfiSafis() {
		most = max(most, family.GetState().GetReceived())
	}
	is.received, is.grew = most, most > was.received
	one.sample = is
	if err := s.repeat(one, now); err != nil || !one.established() {
		return false, err
	}
	switch limit := uint64(one.peer.MaximumPrefixes); {
	case agreed == 0 && one.peer.HoldTime > 0:
		return false, s.again(s.life, one, "the peer wants no hold timer, and we do")
	case agreed > 0 && now.Sub(is.at) > agreed+one.peer.KeepaliveInterval:
		return false, s.again(s.life, one, "the peer takes nothing any more (RFC 9687)")
	case is.refreshes > was.refreshes+mostRefreshes && !was.at.IsZero():
		return false, s.keepOut(one, "the peer asks for all routes over and over (route refresh)", max(one.peer.RestartAfter, excessTime))
	case limit > 0 && most > limit:
		why := fmt.Sprintf("%d prefixes, of %d that it may have", most, one.peer.MaximumPrefixes)
		return false, s.keepOut(one, why, one.peer.RestartAfter)
	case limit > 0 && one.peer.WarnAt > 0 && most > limit*uint64(one.peer.WarnAt)/100:
		if !is.warned {
			s.log.Warn("BGP peer nears its limit of prefixes", "peer", one.peer.Name, "prefixes", most, "limit", limit)
		}
		one.sample.warned = true
	case limit > 0 && most < limit*uint64(one.peer.WarnAt)/200:
		one.sample.warned = false
	}
	return is.grew || !one.settled, nil
}

// keepOut ends the session with a peer that made too much of us, and keeps it out for that long; 0: until an operator
// resets it. The caller holds s.mu.
func (s *Speaker) keepOut(one *session, why string, back time.Duration) error {
	err := s.takeOut(s.life, one, why)
	one.overLimit = true
	if back > 0 {
		address := one.peer.Address
		one.back = time.AfterFunc(back, func() { s.readmit(s.life, address) })
	}
	return err
}

// readmit lets a peer back in that was over its limit, or whose session was short.
func (s *Speaker) readmit(ctx context.Context, address netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.sessions[address]
	if !ok || one.back == nil || s.server == nil || s.closed {
		return
	}
	s.act(one, s.putIn(ctx, one))
}
