package speaker

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"

	"bulkhead/bgp"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// Routes yields the paths that query chooses, prefix by prefix in order, until yield returns false: those in the table,
// the best first, then those that were refused.
func (s *Speaker) Routes(ctx context.Context, query bgp.RouteQuery, yield func(bgp.Route) bool) error {
	view, err := s.view(query)
	if err != nil {
		return err
	}
	if view == nil {
		return nil
	}
	told := 0
	for _, family := range []gobgp.Family{gobgp.RF_IPv4_UC, gobgp.RF_IPv6_UC} {
		if !asked(query, family) {
			continue
		}
		found, err := view.list(family, query)
		if err != nil {
			return err
		}
		for _, prefix := range sorted(found) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			routes := view.routes(found[prefix], query)
			if len(routes) == 0 {
				continue
			}
			if query.Limit > 0 && told == query.Limit {
				return nil
			}
			told++
			for _, route := range routes {
				if !yield(route) {
					return nil
				}
			}
		}
	}
	return nil
}

// Advertised yields what the query's peer is told, prefix by prefix in order, until yield returns false.
func (s *Speaker) Advertised(ctx context.Context, query bgp.RouteQuery, yield func(bgp.Route) bool) error {
	if query.Peer == "" {
		return errors.New("name the peer whose advertised routes are asked for")
	}
	view, err := s.view(query)
	if err != nil {
		return err
	}
	if view == nil {
		return nil
	}
	told := 0
	for _, peer := range view.peers {
		for _, family := range families(peer.peer) {
			if !peer.established || !asked(query, family) {
				continue
			}
			found := map[netip.Prefix]*paths{}
			if err := view.collect(found, api.TableType_TABLE_TYPE_ADJ_OUT, peer.peer.Address.String(), family, query); err != nil {
				return err
			}
			for _, prefix := range sorted(found) {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				for _, path := range found[prefix].in {
					if query.Limit > 0 && told == query.Limit {
						return nil
					}
					told++
					route, _ := routeOf(path, view.config.ASN)
					route.Peer = view.names[path.PeerAddress]
					if !yield(route) {
						return nil
					}
				}
			}
		}
	}
	return nil
}

// view is what a question about routes is answered by, without the speaker's lock.
type view struct {
	speaker *Speaker
	server  *server.BgpServer
	config  *bgp.Config
	names   map[netip.Addr]string
	// peers are those that the question is about.
	peers  []viewedPeer
	refuse *refusals
}

type viewedPeer struct {
	peer        bgp.Peer
	there       bool
	established bool
}

// paths are those to one prefix: in the table, the best first, and refused ones.
type paths struct{ in, refused []*apiutil.Path }

// view takes down what a question needs; nil: nothing runs that could be asked.
func (s *Speaker) view(query bgp.RouteQuery) (*view, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil || s.config == nil {
		return nil, nil
	}
	v := &view{speaker: s, server: s.server, config: s.config, names: map[netip.Addr]string{},
		refuse: newRefusals(s.config, s.table.Space(), s.pins(s.config))}
	if query.Peer != "" {
		if _, err := s.named(query.Peer); err != nil {
			return nil, err
		}
	}
	for _, peer := range s.config.Peers {
		one, ok := s.sessions[peer.Address]
		if !ok {
			continue
		}
		v.names[peer.Address] = one.peer.Name
		if query.Peer == "" || query.Peer == peer.Name {
			v.peers = append(v.peers, viewedPeer{one.peer, one.there, one.established()})
		}
	}
	return v, nil
}

// list puts together what is known of a family.
func (v *view) list(family gobgp.Family, query bgp.RouteQuery) (map[netip.Prefix]*paths, error) {
	found := map[netip.Prefix]*paths{}
	if err := v.collect(found, api.TableType_TABLE_TYPE_GLOBAL, "", family, query); err != nil {
		return nil, err
	}
	for _, peer := range v.peers {
		if !peer.there || !slices.Contains(families(peer.peer), family) {
			continue
		}
		told := map[netip.Prefix]*paths{}
		if err := v.collect(told, api.TableType_TABLE_TYPE_ADJ_IN, peer.peer.Address.String(), family, query); err != nil {
			return nil, err
		}
		for prefix, from := range told {
			if known := found[prefix]; known == nil {
				found[prefix] = &paths{refused: from.in}
			} else if !slices.ContainsFunc(known.in, func(p *apiutil.Path) bool { return p.PeerAddress == peer.peer.Address }) {
				known.refused = append(known.refused, from.in...)
			}
		}
	}
	return found, v.accepted(found, family)
}

// accepted looks again at what seems refused: it may have come into the table after that was listed.
func (v *view) accepted(found map[netip.Prefix]*paths, family gobgp.Family) error {
	request := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family}
	for prefix, p := range found {
		if len(p.refused) > 0 {
			request.Prefixes = append(request.Prefixes,
				&apiutil.LookupPrefix{Prefix: prefix.String(), LookupOption: apiutil.LOOKUP_EXACT})
		}
	}
	if len(request.Prefixes) == 0 {
		return nil
	}
	return v.server.ListPath(request, func(nlri gobgp.NLRI, list []*apiutil.Path) {
		prefix, ok := prefixOf(nlri)
		p := found[prefix]
		if !ok || p == nil || len(list) == 0 {
			return
		}
		p.in = list
		p.refused = slices.DeleteFunc(p.refused, func(refused *apiutil.Path) bool {
			return slices.ContainsFunc(list, func(in *apiutil.Path) bool { return in.PeerAddress == refused.PeerAddress })
		})
	})
}

// collect takes down a table of GoBGP's. The filter that GoBGP offers for what a peer told is not used: it changes what it
// looks at.
func (v *view) collect(found map[netip.Prefix]*paths, table api.TableType, name string, family gobgp.Family,
	query bgp.RouteQuery,
) error {
	request := apiutil.ListPathRequest{TableType: table, Name: name, Family: family}
	if query.Prefix.IsValid() {
		lookup := &apiutil.LookupPrefix{Prefix: query.Prefix.Masked().String(), LookupOption: apiutil.LOOKUP_EXACT}
		if query.Longer {
			lookup.LookupOption = apiutil.LOOKUP_LONGER
		}
		request.Prefixes = append(request.Prefixes, lookup)
		if query.Covering {
			request.Prefixes = append(request.Prefixes,
				&apiutil.LookupPrefix{Prefix: lookup.Prefix, LookupOption: apiutil.LOOKUP_SHORTER})
		}
	}
	return v.server.ListPath(request, func(nlri gobgp.NLRI, list []*apiutil.Path) {
		if prefix, ok := prefixOf(nlri); ok && len(list) > 0 {
			found[prefix] = &paths{in: list}
		}
	})
}

// routes are the paths of one prefix that the query chooses, with what is to be said of them.
func (v *view) routes(p *paths, query bgp.RouteQuery) []bgp.Route {
	var routes []bgp.Route
	candidates := make([]candidate, len(p.in))
	used := make([]bool, len(p.in))
	all := make([]bgp.Route, len(p.in))
	for i, path := range p.in {
		all[i], candidates[i] = routeOf(path, v.config.ASN)
		all[i].Peer = v.names[path.PeerAddress]
		all[i].Best = i == 0
		used[i] = v.used(all[i], path)
	}
	for i, reason := range why(candidates, used, v.config.CompareMEDAcrossASN) {
		all[i].Why, all[i].Used = reason, used[i]
		if all[i].Peer != "" {
			all[i].Interfaces = v.speaker.table.Resolve(all[i].NextHop)
		}
		if query.Peer == "" || query.Peer == all[i].Peer {
			routes = append(routes, all[i])
		}
	}
	for _, path := range p.refused {
		route, _ := routeOf(path, v.config.ASN)
		route.Peer = v.names[path.PeerAddress]
		route.Refused = true
		route.Why = v.refuse.reason(path, route)
		routes = append(routes, route)
	}
	return routes
}

// used says that packets go by a path: our own are the kernel's to begin with.
func (v *view) used(route bgp.Route, path *apiutil.Path) bool {
	if !path.PeerAddress.IsValid() {
		return path.Best
	}
	if !path.Best {
		return false
	}
	state, ok := v.speaker.table.Lookup(route.Prefix)
	return ok && state.Installed && slices.Contains(state.NextHops, route.NextHop)
}

// asked says that the query may choose something of a family.
func asked(query bgp.RouteQuery, family gobgp.Family) bool {
	return !query.Prefix.IsValid() || query.Prefix.Addr().Is4() == (family == gobgp.RF_IPv4_UC)
}

func sorted(found map[netip.Prefix]*paths) []netip.Prefix {
	prefixes := make([]netip.Prefix, 0, len(found))
	for prefix := range found {
		prefixes = append(prefixes, prefix)
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return prefixes
}
