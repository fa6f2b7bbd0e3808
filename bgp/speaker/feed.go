package speaker

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"bulkhead/bgp/fib"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// feed hands GoBGP's best paths to the kernel's table. GoBGP tells them one by one.
type feed struct {
	table  *fib.Table
	asn    uint32
	memory *memory

	mu     sync.Mutex
	closed bool
	most   int
	taken  uint64
	// used are the equally good paths of each prefix; nil: only the best path of each is told.
	used map[netip.Prefix][]usedPath
	// coming are the sessions that come up, arrivals those that came up last, and missed those that changes may have
	// gone past. wake has them looked at; marked counts markers.
	coming   map[netip.Addr]*coming
	arrivals []arrival
	missed   map[netip.Addr]missed
	marked   uint32
	wake     func()
}

// usedPath is a path that packets may go by. One of our own has no peer.
type usedPath struct {
	peer     netip.Addr
	nextHop  netip.Addr
	internal bool
}

// newFeed makes a feed for most paths to a prefix at the same time. wake is called when a peer has to be told again.
func newFeed(table *fib.Table, asn uint32, most int, memory *memory, wake func()) *feed {
	f := &feed{table: table, asn: asn, most: most, memory: memory, wake: wake,
		coming: map[netip.Addr]*coming{}, missed: map[netip.Addr]missed{}}
	if most > 1 {
		f.used = map[netip.Prefix][]usedPath{}
	}
	return f
}

// limit changes how many paths are used from now on, for all prefixes.
func (f *feed) limit(most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.most == most || f.used == nil {
		return
	}
	f.most = most
	routes := make([]fib.Route, 0, len(f.used))
	for prefix := range f.used {
		routes = append(routes, f.route(prefix))
	}
	f.table.Update(routes)
}

// close makes the feed deaf.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// count is how many paths were taken until now.
func (f *feed) count() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.taken
}

// take is told of paths that came to be used or are not used any more.
func (f *feed) take(paths []*apiutil.Path, _ time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(paths) == 0 {
		return
	}
	f.taken += uint64(len(paths))
	f.memory.took(len(paths))
	routes := make([]fib.Route, 0, len(paths))
	for _, path := range paths {
		prefix, ok := prefixOf(path.Nlri)
		if !ok {
			continue
		}
		if isMarker(path, prefix) {
			f.cameBy(prefix)
			continue
		}
		f.note(prefix, path.Withdrawal)
		one := usedPath{peer: path.PeerAddress, nextHop: nextHopOf(path.Attrs), internal: path.PeerASN == f.asn}
		if f.used == nil {
			r := fib.Route{Prefix: prefix}
			if !path.Withdrawal && one.peer.IsValid() {
				r.NextHops, r.Internal = []netip.Addr{one.nextHop}, one.internal
			}
			routes = append(routes, r)
			continue
		}
		f.change(prefix, one, path.Withdrawal)
		routes = append(routes, f.route(prefix))
	}
	f.table.Update(routes)
}

// change takes a path up or out. The caller holds f.mu.
func (f *feed) change(prefix netip.Prefix, one usedPath, gone bool) {
	used := f.used[prefix]
	i := slices.IndexFunc(used, func(u usedPath) bool { return u.peer == one.peer })
	switch {
	case gone && i >= 0:
		used = slices.Delete(used, i, i+1)
	case gone:
	case i >= 0:
		used[i] = one
	default:
		used = append(used, one)
		slices.SortFunc(used, func(a, b usedPath) int { return a.peer.Compare(b.peer) })
	}
	if len(used) == 0 {
		delete(f.used, prefix)
		return
	}
	f.used[prefix] = used
}

// route is what the kernel is to have for prefix: nothing while one of our own is the best. The caller holds f.mu.
func (f *feed) route(prefix netip.Prefix) fib.Route {
	r := fib.Route{Prefix: prefix}
	for _, one := range f.used[prefix] {
		if !one.peer.IsValid() {
			return fib.Route{Prefix: prefix}
		}
		if len(r.NextHops) < f.most && !slices.Contains(r.NextHops, one.nextHop) {
			r.NextHops, r.Internal = append(r.NextHops, one.nextHop), one.internal
		}
	}
	return r
}

// prefixOf is the prefix that a path leads to.
func prefixOf(nlri gobgp.NLRI) (netip.Prefix, bool) {
	if n, ok := nlri.(*gobgp.IPAddrPrefix); ok {
		return n.Prefix, n.Prefix.IsValid()
	}
	return netip.Prefix{}, false
}

// nextHopOf is the next hop that attributes name; not valid: none.
func nextHopOf(attributes []gobgp.PathAttributeInterface) netip.Addr {
	for _, attribute := range attributes {
		switch a := attribute.(type) {
		case *gobgp.PathAttributeNextHop:
			return a.Value.Unmap()
		case *gobgp.PathAttributeMpReachNLRI:
			return a.Nexthop.Unmap()
		}
	}
	return netip.Addr{}
}
