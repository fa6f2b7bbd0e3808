package speaker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// GoBGP tells a new session the table first, and only then takes it for established: a route that changes in between is told
// to every peer but that one. So the feed looks which routes change from the exchange of OPEN messages on until a path of no
// consequence, originated once GoBGP takes the session for established, has come by. If there were any, the peer is told
// again.
//
// What GoBGP had still to tell in a session that ends is the first that it tells in the next one, and then nothing any more:
// the mark of the end is in that queue too. So every session has a peer of its own (see renew). Where routes are kept
// meanwhile (RFC 4724) it cannot: the feed looks from the session's end on then, the peer is told again in any case, and
// where nothing goes out it loses what is kept.

// coming is what changed since a session began to come up.
type coming struct {
	changed bool
	// kept: it began with the end of the last session.
	kept bool
	// gone are prefixes that lost a path; nil: too many did.
	gone map[netip.Prefix]struct{}
}

const (
	// mostGone bounds the memory that prefixes take which come and go while a session comes up.
	mostGone = 100_000
	// firstWord is when at the latest GoBGP has begun to tell again, and silence after how long it has told what it had.
	firstWord = 5 * time.Second
	silence   = 500 * time.Millisecond
)

// missed is what a peer may have missed.
type missed struct {
	kept bool
	gone map[netip.Prefix]struct{}
}

// arrival is a session that is established: what comes after the marker cannot be missed any more.
type arrival struct {
	marker netip.Prefix
	peer   netip.Addr
}

// markers are the addresses of the paths that come by: of "this network", which no peer can claim (RFC 6890).
var markers = netip.MustParsePrefix("0.0.0.0/8")

// isMarker says that a path is one of those.
func isMarker(path *apiutil.Path, prefix netip.Prefix) bool {
	return !path.PeerAddress.IsValid() && prefix.IsSingleIP() && markers.Contains(prefix.Addr())
}

// session is told of every step of a session, in order with the paths.
func (f *feed) session(event *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	state := event.Peer.State
	c := f.coming[state.NeighborAddress]
	switch {
	case state.SessionState == gobgp.BGP_FSM_ESTABLISHED:
	case state.DisconnectReason == api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART:
		f.coming[state.NeighborAddress] = &coming{kept: true, gone: map[netip.Prefix]struct{}{}}
	case c != nil && c.kept:
	case state.SessionState == gobgp.BGP_FSM_OPENCONFIRM:
		f.coming[state.NeighborAddress] = &coming{gone: map[netip.Prefix]struct{}{}}
	default:
		delete(f.coming, state.NeighborAddress)
	}
}

// forget ends the looking at sessions of a peer that is taken out.
func (f *feed) forget(peer netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.coming, peer)
	delete(f.missed, peer)
}

// note takes note of a path that came to be used or is not used any more. The caller holds f.mu.
func (f *feed) note(prefix netip.Prefix, gone bool) {
	for _, c := range f.coming {
		c.changed = true
		switch {
		case len(c.gone) == mostGone:
			c.gone = nil
		case gone && c.gone != nil:
			c.gone[prefix] = struct{}{}
		}
	}
}

// cameBy ends the looking at the session that a marker is for. The caller holds f.mu.
func (f *feed) cameBy(marker netip.Prefix) {
	i := slices.IndexFunc(f.arrivals, func(a arrival) bool { return a.marker == marker })
	if i < 0 {
		return
	}
	peer := f.arrivals[i].peer
	f.arrivals = slices.Delete(f.arrivals, i, i+1)
	if c, ok := f.coming[peer]; ok && (c.changed || c.kept) {
		f.missed[peer] = missed{kept: c.kept, gone: c.gone}
		f.wake()
	}
	delete(f.coming, peer)
}

// settle has the looking at a session, which is established now, end with a marker that is yet to come by.
func (f *feed) settle(peer netip.Addr) (marker netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marked++
	address := binary.BigEndian.AppendUint32(nil, f.marked&0xffffff)
	marker = netip.PrefixFrom(netip.AddrFrom4([4]byte(address)), 32)
	f.arrivals = append(f.arrivals, arrival{marker: marker, peer: peer})
	return marker
}

// takeMissed are the peers that have to be told again.
func (f *feed) takeMissed() map[netip.Addr]missed {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.missed
	f.missed = map[netip.Addr]missed{}
	return all
}

// settle looks whether GoBGP takes a session for established, and lets a marker come by then. One that has been told nothing
// yet, since we start again (RFC 4724, 4.1), misses nothing. The caller holds s.mu.
func (s *Speaker) settle(one *session, seen *api.Peer) error {
	if one.settled || seen.GetState().GetSessionState() != api.PeerState_SESSION_STATE_ESTABLISHED {
		return nil
	}
	one.settled = true
	if seen.GetGracefulRestart().GetLocalRestarting() {
		s.feed.forget(one.peer.Address)
		return nil
	}
	marker, err := hidden(s.feed.settle(one.peer.Address))
	if err != nil {
		return err
	}
	return s.during([]*apiutil.Path{marker}, func() error { return nil })
}

// tellMissed tells peers again whose session came up while routes changed. The caller holds s.mu.
func (s *Speaker) tellMissed() {
	for peer, what := range s.feed.takeMissed() {
		switch one, ok := s.sessions[peer]; {
		case !ok || !one.established():
		case what.kept:
			one.pending = &what
		default:
			s.act(one, s.tellAgain(s.life, one, what))
		}
	}
}

// due is that GoBGP has something to tell, and had told so many messages by then.
type due struct {
	sent uint64
	at   time.Time
}

// repeat tells a peer again whose routes were kept, when GoBGP has told what was left of the last session, and takes it out
// where nothing goes out then. The caller holds s.mu.
func (s *Speaker) repeat(one *session, now time.Time) error {
	is := one.sample
	switch {
	case one.pending != nil && (now.Sub(is.at) >= silence || now.Sub(one.since) > firstWord):
		what := *one.pending
		one.pending, one.due = nil, &due{sent: is.sent, at: now}
		return s.tellAgain(s.life, one, what)
	case one.due == nil:
	case is.sent > one.due.sent:
		one.due = nil
	case now.Sub(one.due.at) > firstWord:
		return s.again(s.life, one, "GoBGP tells the peer nothing")
	}
	return nil
}

// tellAgain has the peer told of all routes, and of those that it may have been told of and are gone. GoBGP withdraws what
// it has told and must not tell any more, so these get a path that nobody may be told of. The caller holds s.mu.
func (s *Speaker) tellAgain(ctx context.Context, one *session, what missed) error {
	if what.gone == nil {
		return s.again(ctx, one, "too many routes went while the session came up")
	}
	s.log.Info("routes changed while the BGP session came up: the peer is told again", "peer", one.peer.Name)
	var paths []*apiutil.Path
	for prefix := range what.gone {
		if _, ok := s.own[prefix]; ok {
			continue
		}
		path, err := hidden(prefix)
		if err != nil {
			return err
		}
		paths = append(paths, path)
	}
	return s.during(paths, func() error {
		return s.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: one.peer.Address.String(), Soft: true,
			Direction: api.ResetPeerRequest_DIRECTION_OUT})
	})
}

// during does something while paths are originated. The caller holds s.mu.
func (s *Speaker) during(paths []*apiutil.Path, do func() error) error {
	if len(paths) == 0 {
		return do()
	}
	if _, err := s.server.AddPath(apiutil.AddPathRequest{Paths: paths}); err != nil {
		return fmt.Errorf("tell the peer again: %w", err)
	}
	return errors.Join(do(), s.server.DeletePath(apiutil.DeletePathRequest{Paths: paths}))
}

// hidden is a path of our own that nobody is told of (RFC 1997), and that any other to its prefix is better than.
func hidden(prefix netip.Prefix) (*apiutil.Path, error) {
	path, err := originated(prefix)
	if err != nil {
		return nil, fmt.Errorf("originate %s: %w", prefix, err)
	}
	path.Attrs = append(path.Attrs, gobgp.NewPathAttributeLocalPref(0),
		gobgp.NewPathAttributeCommunities([]uint32{uint32(gobgp.COMMUNITY_NO_ADVERTISE)}))
	return path, nil
}
