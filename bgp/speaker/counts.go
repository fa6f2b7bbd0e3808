package speaker

import (
	"context"
	"net/netip"
	"time"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// counts are what became of the prefixes that a peer told.
type counts struct {
	accepted map[gobgp.Family]uint64
	refused  map[string]uint64
	// updates had come and this generation of policies was in force when it was counted, at this time. They had come since
	// then, as far as is known: GoBGP counts an update before it does what it says.
	updates    uint64
	generation int
	at, since  time.Time
}

// GoBGP does not count what policies refuse, and counting goes through all routes. Peers with more prefixes than this are
// counted again this long after the last time only.
const (
	manyPrefixes = 2000
	countAgain   = 30 * time.Second
	// settled is how long after the last update all is done that it says.
	settled = time.Second
)

// count counts again for peers of which something may have changed. seen are the peers as GoBGP has them.
func (s *Speaker) count(ctx context.Context, seen map[string]*api.Peer) error {
	view, err := s.view(bgp.RouteQuery{})
	if err != nil || view == nil {
		return err
	}
	var todo []viewedPeer
	s.mu.Lock()
	generation := s.imports.generation
	for _, peer := range view.peers {
		one, ok := s.sessions[peer.peer.Address]
		now := seen[peer.peer.Address.String()]
		if !ok || !peer.established || now == nil {
			continue
		}
		updates := now.GetState().GetMessages().GetReceived().GetUpdate()
		same := one.counts.accepted != nil && one.counts.updates == updates && one.counts.generation == generation &&
			one.counts.at.Sub(one.counts.since) > settled
		if same || receivedOf(now) > manyPrefixes && time.Since(one.counts.at) < countAgain {
			continue
		}
		todo = append(todo, peer)
	}
	s.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	all := map[netip.Addr]*counts{}
	for _, peer := range todo {
		now := seen[peer.peer.Address.String()]
		all[peer.peer.Address] = &counts{accepted: map[gobgp.Family]uint64{}, refused: map[string]uint64{},
			updates: now.GetState().GetMessages().GetReceived().GetUpdate(), generation: generation, at: time.Now()}
	}
	view.peers = todo
	for _, family := range []gobgp.Family{gobgp.RF_IPv4_UC, gobgp.RF_IPv6_UC} {
		if err := view.count(ctx, family, all, seen); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for address, c := range all {
		if one, ok := s.sessions[address]; ok {
			c.since = c.at
			if one.counts.updates == c.updates && one.counts.generation == c.generation && !one.counts.since.IsZero() {
				c.since = one.counts.since
			}
			one.counts = *c
		}
	}
	return nil
}

// count counts the routes of a family.
func (v *view) count(ctx context.Context, family gobgp.Family, all map[netip.Addr]*counts, seen map[string]*api.Peer) error {
	request := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family}
	err := v.server.ListPath(request, func(_ gobgp.NLRI, list []*apiutil.Path) {
		for _, path := range list {
			if c, ok := all[path.PeerAddress]; ok {
				c.accepted[family]++
			}
		}
	})
	if err != nil {
		return err
	}
	for _, peer := range v.peers {
		c := all[peer.peer.Address]
		var received uint64
		for _, state := range seen[peer.peer.Address.String()].GetAfiSafis() {
			if familyFrom(state.GetState().GetFamily()) == family {
				received = state.GetState().GetReceived()
			}
		}
		if received <= c.accepted[family] || ctx.Err() != nil {
			continue
		}
		one := *v
		one.peers = []viewedPeer{peer}
		found, err := one.list(family, bgp.RouteQuery{})
		if err != nil {
			return err
		}
		for _, p := range found {
			for _, path := range p.refused {
				route, _ := routeOf(path, v.config.ASN)
				c.refused[v.refuse.kind(path, route)]++
			}
		}
	}
	return ctx.Err()
}

// receivedOf is how many prefixes a peer told.
func receivedOf(peer *api.Peer) (received uint64) {
	for _, family := range peer.GetAfiSafis() {
		received += family.GetState().GetReceived()
	}
	return received
}

func familyFrom(family *api.Family) gobgp.Family {
	return gobgp.NewFamily(uint16(family.GetAfi()), uint8(family.GetSafi()))
}

// revision says when what peers are told may have changed: with the best routes, our own, the policies or the sessions.
type revision struct{ taken, own, sessions, exports uint64 }

// told are how many prefixes of each family peers were told of when it was last counted: GoBGP goes through all routes and
// policies to tell.
type told struct {
	revision revision
	at       time.Time
	counts   map[string]map[gobgp.Family]uint64
}

// countTold says whether to count again what peers are told. The caller holds s.mu.
func (s *Speaker) countTold() (now revision, again bool) {
	if s.feed == nil {
		return now, false
	}
	now = revision{taken: s.feed.count(), own: s.ownChanges, sessions: s.sessionChanges, exports: uint64(s.exports.generation)}
	stats := s.table.Stats()
	switch {
	case s.told.counts == nil || now.sessions != s.told.revision.sessions:
		return now, true
	case now == s.told.revision:
		return now, false
	}
	return now, stats.IPv4+stats.IPv6 <= manyPrefixes || time.Since(s.told.at) >= countAgain
}

// takeTold keeps what GoBGP counted. The caller holds s.mu.
func (s *Speaker) takeTold(now revision, seen map[string]*api.Peer) {
	s.told = told{revision: now, at: time.Now(), counts: map[string]map[gobgp.Family]uint64{}}
	for address, peer := range seen {
		s.told.counts[address] = map[gobgp.Family]uint64{}
		for _, family := range peer.GetAfiSafis() {
			name := familyFrom(family.GetState().GetFamily())
			s.told.counts[address][name] = family.GetState().GetAdvertised()
		}
	}
}
