package compartments

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeKey is what the kernel tells routes of one table apart by.
type routeKey struct {
	prefix netip.Prefix
	metric uint32
}

// hop is one way of a route. A link of 0 leaves the choice to the kernel.
type hop struct {
	link int
	via  netip.Addr
}

// route is a route of ours, declared or found.
type route struct {
	routeKey
	unreachable bool
	source      netip.Addr
	hops        []hop // sorted, each once
}

// defaultMetric6 is what the kernel makes of an IPv6 route without a metric (IP6_RT_PRIO_USER).
const defaultMetric6 = 1024

func keyOf(r Route) routeKey {
	k := routeKey{r.Prefix.Masked(), r.Metric}
	if k.metric == 0 && k.prefix.Addr().Is6() {
		k.metric = defaultMetric6
	}
	return k
}

// wanted puts the declared routes together by prefix and metric. index finds a link by name. Routes that cannot be made
// are reported and left out.
func wanted(declared []Route, index map[string]int) (map[routeKey]route, []error) {
	routes := make(map[routeKey]route, len(declared))
	var errs []error
	for _, d := range declared {
		one, err := single(d, index)
		if err != nil {
			errs = append(errs, fmt.Errorf("route %v metric %d: %w", d.Prefix, d.Metric, err))
			continue
		}
		have, there := routes[one.routeKey]
		if !there {
			routes[one.routeKey] = one
			continue
		}
		if have.unreachable != one.unreachable || have.source != one.source {
			errs = append(errs, fmt.Errorf("route %v metric %d: declared twice, and the two disagree",
				d.Prefix, d.Metric))
			continue
		}
		have.hops = sortHops(append(have.hops, one.hops...))
		routes[one.routeKey] = have
	}
	return routes, errs
}

func single(d Route, index map[string]int) (route, error) {
	r := route{routeKey: keyOf(d), unreachable: d.Unreachable}
	if !d.Prefix.IsValid() {
		return r, errors.New("the prefix is missing")
	}
	if d.Unreachable {
		return r, nil
	}
	for _, a := range []netip.Addr{d.NextHop, d.Source} {
		if a.IsValid() && a.Is4() != d.Prefix.Addr().Is4() {
			return r, fmt.Errorf("%v is of another address family", a)
		}
	}
	h := hop{via: d.NextHop}
	if d.Link != "" {
		if h.link = index[d.Link]; h.link == 0 {
			return r, fmt.Errorf("there is no link %s", d.Link)
		}
	} else if !d.NextHop.IsValid() {
		return r, errors.New("neither a link nor a next hop is given")
	}
	r.source, r.hops = d.Source, []hop{h}
	return r, nil
}

func sortHops(hops []hop) []hop {
	slices.SortFunc(hops, func(a, b hop) int {
		return cmp.Or(cmp.Compare(a.link, b.link), a.via.Compare(b.via))
	})
	return slices.Compact(hops)
}

// satisfies tells whether a route that was found is the declared one. Where the declaration leaves a link open, the
// kernel has found one.
func (r route) satisfies(want route) bool {
	return r.unreachable == want.unreachable && r.source == want.source &&
		slices.EqualFunc(r.hops, want.hops, func(have, want hop) bool {
			return have.via == want.via && (want.link == 0 || have.link == want.link)
		})
}

// routePlan is how to come from the routes that stand to the declared ones.
type routePlan struct {
	add, change, remove []route
}

// planRoutes is pure. Of several found routes with the same prefix and metric, which the kernel allows for IPv4, the
// first is the one that counts.
func planRoutes(want map[routeKey]route, have []route) routePlan {
	var p routePlan
	standing := map[routeKey]route{}
	for _, h := range have {
		_, declared := want[h.routeKey]
		if _, twice := standing[h.routeKey]; twice || !declared {
			p.remove = append(p.remove, h)
			continue
		}
		standing[h.routeKey] = h
	}
	for key, w := range want {
		if h, there := standing[key]; !there {
			p.add = append(p.add, w)
		} else if !h.satisfies(w) {
			p.change = append(p.change, w)
		}
	}
	for _, list := range [][]route{p.add, p.change} {
		slices.SortFunc(list, compareRoutes)
	}
	return p
}

// compareRoutes puts longer prefixes first: they are on links, and next hops resolve through them.
func compareRoutes(a, b route) int {
	return cmp.Or(cmp.Compare(b.prefix.Bits(), a.prefix.Bits()), a.prefix.Addr().Compare(b.prefix.Addr()),
		cmp.Compare(a.metric, b.metric))
}

// routes adds and changes what the plan says and returns what it says to remove.
func (s *setting) routes(declared []Route) []route {
	links, err := dump(s.h.LinkList)
	if err != nil {
		s.try(fmt.Errorf("list links: %w", err))
		return nil
	}
	index := make(map[string]int, len(links))
	for _, l := range links {
		index[l.Attrs().Name] = l.Attrs().Index
	}
	want, errs := wanted(declared, index)
	s.errs = append(s.errs, errs...)
	have, err := ownRoutes(s.h)
	if err != nil {
		s.try(err)
		return nil
	}
	plan := planRoutes(want, have)
	for _, r := range plan.add {
		if !s.stopped() {
			s.try(addRoute(s.h, r))
		}
	}
	for _, r := range plan.change {
		if s.stopped() {
			return nil
		}
		if err := s.h.RouteReplace(r.netlink()); err != nil {
			s.try(fmt.Errorf("route %v metric %d: change: %w", r.prefix, r.metric, err))
		}
	}
	return plan.remove
}

// addRoute adds a route. One that somebody else made is not taken over: if it is the same it serves, if not it is
// reported.
func addRoute(h *netlink.Handle, r route) error {
	err := h.RouteAdd(r.netlink())
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EEXIST) {
		all, listErr := listRoutes(h, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if listErr != nil {
			return listErr
		}
		for _, have := range all {
			if have.routeKey == r.routeKey && have.satisfies(r) {
				return nil
			}
		}
		return fmt.Errorf("route %v metric %d: another route than the declared one stands with this metric: "+
			"remove it, or declare another metric: %w", r.prefix, r.metric, err)
	}
	return fmt.Errorf("route %v metric %d: add: %w", r.prefix, r.metric, err)
}

func (s *setting) removeRoutes(stale []route) {
	for _, r := range stale {
		if s.stopped() {
			return
		}
		// A route goes by itself with its link or its source address.
		if err := s.h.RouteDel(r.netlink()); err != nil && !errors.Is(err, unix.ESRCH) {
			s.try(fmt.Errorf("route %v metric %d: remove: %w", r.prefix, r.metric, err))
		}
	}
}

// ownRoutes reads the routes with our mark.
func ownRoutes(h *netlink.Handle) ([]route, error) {
	filter := &netlink.Route{Protocol: Protocol, Table: unix.RT_TABLE_MAIN}
	return listRoutes(h, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
}

func listRoutes(h *netlink.Handle, filter *netlink.Route, mask uint64) ([]route, error) {
	found, err := filterRoutes(h, filter, mask)
	if err != nil {
		return nil, err
	}
	routes := make([]route, 0, len(found))
	for _, f := range found {
		routes = append(routes, foundRoute(f))
	}
	return routes, nil
}

// filterRoutes has the kernel itself leave out what is not asked for: BGP may have a hundred thousand routes.
func filterRoutes(h *netlink.Handle, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	if err := h.SetStrictCheck(true); err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	found, err := dump(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_ALL, filter, mask)
	})
	if err := errors.Join(err, h.SetStrictCheck(false)); err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return found, nil
}

// everyRoute lists the main table. Ours are listed by themselves: while BGP changes others all the time a list of all may
// never be whole, and is taken as it is.
func everyRoute(h *netlink.Handle) ([]netlink.Route, error) {
	main := &netlink.Route{Table: unix.RT_TABLE_MAIN}
	ours, err := filterRoutes(h, &netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: Protocol},
		netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, err
	}
	others, err := dump(func() (found []netlink.Route, err error) {
		err = h.RouteListFilteredIter(netlink.FAMILY_ALL, main, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if r.Protocol != Protocol {
				found = append(found, r)
			}
			return true
		})
		return found, err
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return append(ours, others...), nil
}

func foundRoute(f netlink.Route) route {
	r := route{
		routeKey:    routeKey{prefixOf(f), uint32(f.Priority)},
		unreachable: f.Type == unix.RTN_UNREACHABLE,
		source:      addrOf(f.Src),
	}
	if r.unreachable {
		return r
	}
	if len(f.MultiPath) == 0 {
		r.hops = []hop{{f.LinkIndex, addrOf(f.Gw)}}
	}
	for _, n := range f.MultiPath {
		r.hops = append(r.hops, hop{n.LinkIndex, addrOf(n.Gw)})
	}
	r.hops = sortHops(r.hops)
	return r
}

func prefixOf(f netlink.Route) netip.Prefix {
	if f.Dst != nil {
		bits, _ := f.Dst.Mask.Size()
		dst := addrOf(f.Dst.IP)
		if f.Family == unix.AF_INET {
			dst = dst.Unmap() // The library writes 0.0.0.0 in sixteen octets.
		}
		return netip.PrefixFrom(dst, bits)
	}
	if f.Family == unix.AF_INET6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}

// netlink is the route as the kernel takes it. Next hops are on link: whatever routes the compartment has, a declared
// next hop on a declared link is meant.
func (r route) netlink() *netlink.Route {
	n := &netlink.Route{
		Dst:      &net.IPNet{IP: r.prefix.Addr().AsSlice(), Mask: net.CIDRMask(r.prefix.Bits(), r.prefix.Addr().BitLen())},
		Priority: int(r.metric), Protocol: Protocol, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST,
	}
	if r.unreachable {
		n.Type = unix.RTN_UNREACHABLE
		return n
	}
	if r.source.IsValid() {
		n.Src = r.source.AsSlice()
	}
	if len(r.hops) == 1 {
		h := r.hops[0]
		n.LinkIndex, n.Flags = h.link, h.flags()
		if h.via.IsValid() {
			n.Gw = h.via.AsSlice()
		} else {
			n.Scope = netlink.SCOPE_LINK
		}
		return n
	}
	for _, h := range r.hops {
		info := &netlink.NexthopInfo{LinkIndex: h.link, Flags: h.flags()}
		if h.via.IsValid() {
			info.Gw = h.via.AsSlice()
		}
		n.MultiPath = append(n.MultiPath, info)
	}
	return n
}

func (h hop) flags() int {
	if h.via.IsValid() && h.link != 0 {
		return unix.RTNH_F_ONLINK
	}
	return 0
}
