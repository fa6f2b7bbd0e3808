package speaker

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"bulkhead/bgp/fib"
)

// leaving bounds how long routes are waited for that leave links. They are out of them long before, unless others come and
// go all the time.
const leaving = time.Second

// SetTunnels says which links have a tunnel that is not connected, all of them. Next hops do not resolve by those any
// more, and sessions over them end at once: what their peers told is gone, also where it would be kept for a restart. A
// peer whose link has its tunnel again is tried without delay. When it returns no route leads out by the links that are down.
func (s *Speaker) SetTunnels(down []string) {
	if table := s.setTunnels(down); table != nil {
		bound, cancel := context.WithTimeout(s.life, leaving)
		defer cancel()
		_ = table.Flush(bound) // What could not be written is tried again, and shown.
	}
}

func (s *Speaker) setTunnels(down []string) *fib.Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	now := make(map[string]bool, len(down))
	for _, link := range down {
		now[link] = true
	}
	was := s.down
	s.down = now
	if s.table == nil {
		return nil
	}
	before := map[netip.Addr][]string{}
	for address := range s.sessions {
		before[address] = s.table.Resolve(address)
	}
	s.table.SetDown(down)
	if s.server == nil {
		return s.table
	}
	for address, one := range s.sessions {
		if !one.there {
			continue
		}
		after := s.table.Resolve(address)
		switch {
		case len(before[address]) > 0 && len(after) == 0:
			s.act(one, s.again(s.life, one, "tunnel down: "+before[address][0]))
		case len(before[address]) == 0 && len(after) > 0 && !one.established() &&
			slices.ContainsFunc(after, func(link string) bool { return was[link] }):
			s.act(one, s.again(s.life, one, "tunnel up: "+after[0]))
		}
	}
	return s.table
}

// arrived takes note that a session with a peer came up: the tunnel that it came by is there, whatever was said before.
// Who says it, the daemon, may be dead. The caller holds s.mu.
func (s *Speaker) arrived(address netip.Addr) {
	if len(s.down) == 0 || len(s.table.Resolve(address)) > 0 {
		return
	}
	var still []string
	for _, link := range s.table.Beneath(address) {
		delete(s.down, link)
	}
	for link := range s.down {
		still = append(still, link)
	}
	slices.Sort(still)
	s.table.SetDown(still)
}
