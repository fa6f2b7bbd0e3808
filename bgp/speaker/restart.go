package speaker

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/fib"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
)

// restart is a graceful restart of our own (RFC 4724, 4.1): the kernel has our predecessor's routes.
type restart struct{ over *time.Timer }

// takeUp takes up the kernel's table, and decides what becomes of routes that a predecessor left: they go, or, where that is
// declared, they stay until all peers have told theirs or the time is over. The caller holds s.mu.
func (s *Speaker) takeUp(want *bgp.Config) error {
	table, err := fib.Open(s.ns, fib.Options{Log: s.log, Sources: want.Sources, Guard: want.Guard, Defaults: acceptsDefault(want),
		Changed: s.moved, Installed: s.installed})
	if err != nil {
		return fmt.Errorf("speaker of %s: %w", s.options.Tenant, err)
	}
	s.table = table
	if len(s.down) > 0 {
		table.SetDown(slices.Sorted(maps.Keys(s.down)))
	}
	if want.RestartTime == 0 || table.Stats().Stale == 0 {
		table.SweepStale()
		return nil
	}
	s.log.Info("BGP goes on with the routes that it had", "for", want.RestartTime)
	s.restart = &restart{over: time.AfterFunc(want.RestartTime, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.restarted("the restart time is over")
	})}
	return nil
}

// acceptsDefault says that a peer may advertise default routes.
func acceptsDefault(c *bgp.Config) bool {
	return slices.ContainsFunc(c.Peers, func(p bgp.Peer) bool { return p.AcceptDefault })
}

// restarted ends a graceful restart: what no peer told again goes. The caller holds s.mu.
func (s *Speaker) restarted(why string) {
	if s.restart == nil || s.closed {
		return
	}
	s.restart.over.Stop()
	s.restart = nil
	s.log.Info("routes from before the restart that no peer told again go", "since", why, "routes", s.table.Stats().Stale)
	s.table.SweepStale()
}

// endOfRIB is told that a peer has told all of a family.
func (s *Speaker) endOfRIB(path *apiutil.Path, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.sessions[path.PeerAddress]
	if !ok || !one.there {
		return
	}
	one.told[path.Family] = true
	if !one.toldAll() {
		return
	}
	if one.stale != nil {
		one.stale.Stop()
		one.stale = nil
	}
	for _, other := range s.sessions {
		if other.expected() && !other.toldAll() {
			return
		}
	}
	s.restarted("all peers told their routes")
}

// toldAll says that the peer has told all of every family.
func (one *session) toldAll() bool {
	for _, family := range families(one.peer) {
		if !one.told[family] {
			return false
		}
	}
	return true
}
