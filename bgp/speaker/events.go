package speaker

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// peerEvent is told of every step of a session.
func (s *Speaker) peerEvent(event *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
	if event.Type != apiutil.PEER_EVENT_STATE {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state := event.Peer.State
	one, ok := s.sessions[state.NeighborAddress]
	if !ok || !one.there || s.server == nil {
		return
	}
	was := one.state
	switch {
	case state.SessionState == gobgp.BGP_FSM_ESTABLISHED && was != gobgp.BGP_FSM_ESTABLISHED:
		one.state = state.SessionState
		s.cameUp(one, state)
	case was == gobgp.BGP_FSM_ESTABLISHED && state.SessionState != gobgp.BGP_FSM_ESTABLISHED:
		s.wentDown(one, state)
	default:
		one.state = state.SessionState
		if state.SessionState == gobgp.BGP_FSM_IDLE {
			s.failed(one, state)
		}
	}
}

// cameUp takes note of a session that is established. The caller holds s.mu.
func (s *Speaker) cameUp(one *session, state apiutil.PeerState) {
	one.since, one.cause = time.Now(), ""
	s.sessionChanges++
	one.sample, one.settled, one.pending, one.due = sample{}, false, nil, nil
	s.journal.over(one.peer.Address)
	s.log.Info("BGP session established", "peer", one.peer.Name, "identifier", state.RouterID)
	if one.peer.Password != "" {
		if err := s.signedSession(one.peer); err != nil {
			one.md5 = err.Error()
			s.act(one, s.again(s.life, one, "no TCP MD5 signature (RFC 2385): "+one.md5))
			return
		}
	}
	s.arrived(one.peer.Address)
	if one.stale != nil && !preserves(one.peer, state.RemoteCap) {
		s.act(one, s.again(s.life, one, "the peer has not kept its routes (RFC 4724, 4.2)"))
		return
	}
	s.rouse()
}

// preserves says that a peer which starts again still forwards packets of all families (RFC 4724, 4.2).
func preserves(peer bgp.Peer, capabilities []gobgp.ParameterCapabilityInterface) bool {
	kept := map[gobgp.Family]bool{}
	for _, capability := range capabilities {
		if c, ok := capability.(*gobgp.CapGracefulRestart); ok {
			for _, tuple := range c.Tuples {
				kept[gobgp.NewFamily(tuple.AFI, tuple.SAFI)] = tuple.Flags&0x80 != 0
			}
		}
	}
	for _, family := range families(peer) {
		if !kept[family] {
			return false
		}
	}
	return true
}

// families are those that are exchanged with peer.
func families(peer bgp.Peer) []gobgp.Family {
	var all []gobgp.Family
	if peer.IPv4 {
		all = append(all, gobgp.RF_IPv4_UC)
	}
	if peer.IPv6 {
		all = append(all, gobgp.RF_IPv6_UC)
	}
	return all
}

// wentDown takes note of the end of a session. The caller holds s.mu.
func (s *Speaker) wentDown(one *session, state apiutil.PeerState) {
	known := s.journal.over(one.peer.Address)
	reason := one.cause
	// What the next session tells may be heard of before it is itself: routes have a queue of their own.
	one.cause, one.told = "", map[gobgp.Family]bool{}
	graceful := state.DisconnectReason == api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART
	switch {
	case reason != "":
	case known.dead:
		reason = "BFD says that the peer is gone"
	case known.silent:
		reason = "hold timer expired"
	default:
		reason = reasonText(state, known)
	}
	lasted := time.Since(one.since)
	s.ended(one, reason)
	if !graceful {
		s.act(one, s.renew(one, lasted))
		return
	}
	if known.dead || known.silent {
		// The peer does not start again, it is gone. GoBGP would keep its routes (RFC 4724, 4.2 keeps them when the
		// connection ends without a word only).
		s.act(one, s.again(s.life, one, reason))
		return
	}
	address := one.peer.Address
	one.stale = time.AfterFunc(s.config.RestartTime, func() { s.overdue(address) })
	s.log.Info("the peer's routes are kept while it starts again", "peer", one.peer.Name, "for", s.config.RestartTime)
}

// failed takes note of a session that did not come up. The caller holds s.mu.
func (s *Speaker) failed(one *session, state apiutil.PeerState) {
	switch state.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_UNSPECIFIED, api.PeerState_DISCONNECT_REASON_IDLE_TIMER_EXPIRED,
		api.PeerState_DISCONNECT_REASON_RESTART_TIMER_EXPIRED, api.PeerState_DISCONNECT_REASON_DECONFIGURED,
		api.PeerState_DISCONNECT_REASON_ADMIN_DOWN: // the last two are our own doing
		return
	}
	one.fail(reasonText(state, s.journal.read(one.peer.Address)))
}

// act logs that what had to be done about a peer failed.
func (s *Speaker) act(one *session, err error) {
	if err != nil {
		s.log.Error("BGP peer", "peer", one.peer.Name, "error", err)
	}
}

// reasonText is why a session ended, in words.
func reasonText(state apiutil.PeerState, known entry) string {
	switch state.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_READ_FAILED:
		return "the peer closed the connection"
	case api.PeerState_DISCONNECT_REASON_WRITE_FAILED:
		return "the connection broke"
	case api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED:
		return "hold timer expired"
	case api.PeerState_DISCONNECT_REASON_BAD_PEER_AS:
		return "the peer has another AS number than declared"
	case api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART:
		return "the peer starts again (RFC 4724)"
	}
	if known.notice != "" && time.Since(known.noticeAt) < time.Minute {
		return known.notice
	}
	if state.DisconnectMessage != "" {
		return strings.ReplaceAll(state.DisconnectMessage, "-", " ")
	}
	return fmt.Sprintf("reason %d", state.DisconnectReason)
}

// overdue ends that the routes of a peer which starts again are kept.
func (s *Speaker) overdue(address netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.sessions[address]
	if !ok || one.stale == nil || s.server == nil {
		return
	}
	one.stale = nil
	s.act(one, s.again(s.life, one, "the peer did not tell its routes again in the restart time"))
}
