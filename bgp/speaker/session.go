package speaker

import (
	"fmt"
	"time"

	"bulkhead/bgp"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// session is what the speaker itself knows of a peer: what GoBGP forgets when the peer is taken out and put back. The
// speaker's mu guards it.
type session struct {
	peer bgp.Peer
	// under is the configuration that GoBGP has the peer by.
	under *bgp.Config
	// there: GoBGP has the peer, with a password if it signs.
	there, signs bool
	state        gobgp.FSMState
	// since is when the session came up or ended.
	since       time.Time
	flaps       uint32
	lastError   string
	lastErrorAt time.Time
	// cause is why we end the session ourselves; it becomes the reason of its end.
	cause string
	// overLimit is why the peer is kept out, and back what lets it in again; nil: an operator does, or it is in.
	overLimit bool
	back      *time.Timer
	// md5 is why the signature is not in force; empty: it is, or none is declared.
	md5 string
	// stale is the end of the time for which the peer's routes are kept while it starts again; nil: they are not.
	stale *time.Timer
	// told are the families that the peer has told all of, since the session came up.
	told   map[gobgp.Family]bool
	sample sample
	counts counts
	// settled: what the peer may have missed while the session came up is being looked at.
	settled bool
	// pending is what a peer whose routes were kept is to be told again; nil: nothing. due is what GoBGP owes it then.
	pending *missed
	due     *due
}

func (one *session) established() bool { return one.there && one.state == gobgp.BGP_FSM_ESTABLISHED }

// expected says that the peer is in, or will soon be after a short session.
func (one *session) expected() bool { return one.there || one.back != nil && !one.overLimit }

func (one *session) stopTimers() {
	for _, timer := range []**time.Timer{&one.back, &one.stale} {
		if *timer != nil {
			(*timer).Stop()
			*timer = nil
		}
	}
}

// stateName is the state by the name that is shown.
func (one *session) stateName() string {
	switch {
	case one.peer.Stopped:
		return bgp.Stopped
	case one.overLimit:
		return bgp.OverLimit
	case !one.there:
		return "idle"
	}
	switch one.state {
	case gobgp.BGP_FSM_CONNECT:
		return "connect"
	case gobgp.BGP_FSM_ACTIVE:
		return "active"
	case gobgp.BGP_FSM_OPENSENT:
		return "opensent"
	case gobgp.BGP_FSM_OPENCONFIRM:
		return "openconfirm"
	case gobgp.BGP_FSM_ESTABLISHED:
		return bgp.Established
	}
	return "idle"
}

// named finds a session by the peer's name. The caller holds s.mu.
func (s *Speaker) named(name string) (*session, error) {
	for _, one := range s.sessions {
		if one.peer.Name == name {
			return one, nil
		}
	}
	return nil, fmt.Errorf("there is no BGP peer %q", name)
}

// ended takes note of the end of a session. The caller holds s.mu.
func (s *Speaker) ended(one *session, reason string) {
	was := one.state
	one.state = gobgp.BGP_FSM_IDLE
	if was != gobgp.BGP_FSM_ESTABLISHED {
		return
	}
	s.sessionChanges++
	one.flaps++
	one.since = time.Now()
	one.fail(reason)
	s.log.Warn("BGP session ended", "peer", one.peer.Name, "reason", reason)
}

// fail takes note of why a session is not there.
func (one *session) fail(reason string) { one.lastError, one.lastErrorAt = reason, time.Now() }

// sample is what was counted of an established session last.
type sample struct {
	// received are the prefixes of the family that has most, sent all messages, which became more at last at this time.
	// refreshes is how often the peer asked for all routes.
	received, sent, refreshes uint64
	at                        time.Time
	// warned: the limit of prefixes is near, and that was said.
	warned bool
	// grew: received had become more. heard are the octets that had come from the peer by then, where it has many prefixes.
	grew  bool
	heard uint64
	// counted is when that was.
	counted time.Time
}
