package speaker

import (
	"fmt"
	"net/netip"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// applyOwn originates what is declared and here, and withdraws what is not any more. The caller holds s.mu.
func (s *Speaker) applyOwn() error {
	want := map[netip.Prefix]struct{}{}
	for _, prefix := range s.config.Networks {
		want[prefix.Masked()] = struct{}{}
	}
	for _, prefix := range s.table.RoutesOn(s.config.Interfaces) {
		// The host route of a peer serves the session. Told to others it would lead their sessions with it through us.
		if _, peer := s.sessions[prefix.Addr()]; !peer || !prefix.IsSingleIP() {
			want[prefix] = struct{}{}
		}
	}
	var add, remove []*apiutil.Path
	for prefix := range want {
		if _, ok := s.own[prefix]; !ok {
			path, err := originated(prefix)
			if err != nil {
				return fmt.Errorf("originate %s: %w", prefix, err)
			}
			add = append(add, path)
		}
	}
	for prefix := range s.own {
		if _, ok := want[prefix]; !ok {
			path, err := originated(prefix)
			if err != nil {
				return fmt.Errorf("withdraw %s: %w", prefix, err)
			}
			remove = append(remove, path)
		}
	}
	if len(add) > 0 {
		if _, err := s.server.AddPath(apiutil.AddPathRequest{Paths: add}); err != nil {
			return fmt.Errorf("originate routes: %w", err)
		}
	}
	if len(remove) > 0 {
		if err := s.server.DeletePath(apiutil.DeletePathRequest{Paths: remove}); err != nil {
			return fmt.Errorf("withdraw routes: %w", err)
		}
	}
	s.own = want
	s.ownChanges += uint64(len(add) + len(remove))
	return nil
}

// originated is a path of our own. Its next hop is named when a peer is told.
func originated(prefix netip.Prefix) (*apiutil.Path, error) {
	nlri, err := gobgp.NewIPAddrPrefix(prefix)
	if err != nil {
		return nil, err
	}
	path := &apiutil.Path{Family: gobgp.RF_IPv4_UC, Nlri: nlri,
		Attrs: []gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(gobgp.BGP_ORIGIN_ATTR_TYPE_IGP)}}
	var next gobgp.PathAttributeInterface
	if prefix.Addr().Is4() {
		next, err = gobgp.NewPathAttributeNextHop(netip.IPv4Unspecified())
	} else {
		path.Family = gobgp.RF_IPv6_UC
		next, err = gobgp.NewPathAttributeMpReachNLRI(path.Family, []gobgp.PathNLRI{{NLRI: nlri}}, netip.IPv6Unspecified())
	}
	path.Attrs = append(path.Attrs, next)
	return path, err
}

// moved is told that next hops resolve otherwise, or that links have other routes.
func (s *Speaker) moved() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil || s.config == nil || s.closed {
		return
	}
	if err := s.applyPolicies(s.life, s.config); err != nil {
		s.log.Error("next hops go on to be resolved as before", "error", err)
	}
	if err := s.applyOwn(); err != nil {
		s.log.Error("the links' routes go on to be advertised as before", "error", err)
	}
}
