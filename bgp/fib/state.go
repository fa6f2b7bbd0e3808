package fib

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// routeList names a part of the kernel's table: the routes of one family that one protocol made.
type routeList struct {
	family, protocol byte
}

// state is what a table knows; its lock guards it.
type state struct {
	sources [2]netip.Addr
	guard   bool
	// defaults: default routes are guarded, too.
	defaults bool
	// ready: these have been told. Before that, what a predecessor left stays.
	ready bool

	// What others have in the kernel, and what follows from it.
	links map[int]link
	local []netip.Addr
	lists map[routeList][]foundRoute
	down  map[string]bool
	view  *view
	news  news

	// What BGP wants and what it has in the kernel.
	entries map[key]entry
	lengths [2][129]int // of installed prefixes, by family
	dirty   []key
	sets    hopSets
	// resolve: what sets resolve to may be another now.
	resolve bool
	objects objects
	// garbage are objects that nothing uses.
	garbage []uint32
	opened  bool

	// strays are routes of BGP's that are not as we make them, to be removed.
	strays []step

	withdrawn withdrawn
	// review: which of the withdrawn prefixes must be unreachable has to be looked at again.
	review bool

	failed    map[key]struct{}
	lastError string
	writes    uint64
	// broken: something failed, and all is to be read again after a while.
	broken bool

	flushes []chan error
	// came are the prefixes that came in, to be told; moved and arrived wake who tells.
	came           []netip.Prefix
	moved, arrived chan struct{}
}

func newState(sources []netip.Addr, guard, defaults bool) state {
	s := state{
		links: map[int]link{}, lists: map[routeList][]foundRoute{}, entries: map[key]entry{},
		sets: hopSets{number: map[string]uint32{}}, objects: newObjects(), withdrawn: newWithdrawn(),
		failed: map[key]struct{}{}, moved: make(chan struct{}, 1), arrived: make(chan struct{}, 1),
	}
	if len(sources) > 0 || guard {
		s.setOptions(sources, guard, defaults)
	}
	s.view = newView(nil, nil, nil, nil)
	return s
}

// setOptions takes up how the table is to be kept. What the kernel has is held against new sources.
func (s *state) setOptions(sources []netip.Addr, guard, defaults bool) {
	var now [2]netip.Addr
	for _, a := range sources {
		now[family(a)] = a
	}
	s.news.all = s.news.all || now != s.sources
	s.review = s.review || guard != s.guard || defaults != s.defaults || !s.ready
	s.sources, s.guard, s.defaults, s.ready = now, guard, defaults, true
}

// guards tells whether a prefix stays unreachable when it is withdrawn.
func (s *state) guards(k key) bool { return s.guard && (s.defaults || !k.isDefault()) }

// want takes up a decision of BGP.
func (s *state) want(r Route) {
	k := keyOf(r.Prefix)
	e, known := s.entries[k]
	if !known && len(r.NextHops) == 0 {
		return
	}
	before := e.set
	e.set, e.stale = 0, false
	if len(r.NextHops) > 0 {
		e.set = s.sets.take(r.NextHops, k.six)
		e.class = external
		if r.Internal {
			e.class = internal
		}
	}
	s.sets.release(before)
	s.queue(k, e)
}

// queue stores an entry that is to be looked at.
func (s *state) queue(k key, e entry) {
	if !e.dirty {
		e.dirty = true
		s.dirty = append(s.dirty, k)
	}
	s.entries[k] = e
}

// requeue has the entries of some sets looked at.
func (s *state) requeue(sets map[uint32]bool) {
	if len(sets) == 0 {
		return
	}
	for k, e := range s.entries {
		if sets[e.set] {
			s.queue(k, e)
		}
	}
}

// look works out anew what can be reached. Next hops are resolved again, and what is withdrawn is looked at.
func (s *state) look() {
	before := s.view
	var routes []foundRoute
	order := func(a, b routeList) int {
		return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.protocol, b.protocol))
	}
	for _, l := range slices.SortedFunc(maps.Keys(s.lists), order) {
		routes = append(routes, s.lists[l]...)
	}
	s.view = newView(routes, s.links, s.local, s.down)
	s.resolve, s.review = true, true
	if !slices.Equal(before.space, s.view.space) || !slices.EqualFunc(before.routes, routes, foundRoute.equal) {
		rouse(s.moved)
	}
}

// objectOf is the object that an entry is to go by; 0: by none. One that drops packets is not taken up, but an entry
// stays with it until BGP decides anew.
func (s *state) objectOf(e entry) uint32 {
	set := s.sets.get(e.set)
	if set == nil || len(set.ways) == 0 && e.have[e.class] != set.object {
		return 0
	}
	return set.object
}

// covered tells whether what is in the prefix would be led on by a route to more, and that not to the Internet.
func (s *state) covered(k key) bool {
	f := 0
	if k.six {
		f = 1
	}
	for bits := int(k.bits) - 1; bits >= 0; bits-- {
		if s.lengths[f][bits] == 0 {
			continue
		}
		e := s.entries[k.shorter(bits)]
		if set := s.sets.get(e.set); set != nil && len(set.ways) > 0 && e.installed() {
			return true
		}
	}
	return s.view.covers(k.prefix())
}

// rouse wakes whoever waits on c, now or next.
func rouse(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// count is what the entries come to.
func (s *state) count() (c Stats) {
	for k, e := range s.entries {
		switch {
		case e.installed() && k.six:
			c.IPv6++
		case e.installed():
			c.IPv4++
		}
		if e.stale {
			c.Stale++
		}
		if set := s.sets.get(e.set); set != nil && len(set.ways) == 0 {
			c.Unresolved++
		}
	}
	c.Withdrawn, c.Forgotten = s.withdrawn.armed, s.withdrawn.forgotten
	c.Failed, c.LastError, c.Writes = len(s.failed), s.lastError, s.writes
	return c
}

// news is what others changed in the kernel since it was last read.
type news struct {
	// all: everything is to be read, our own routes included. lists: these alone.
	all   bool
	lists map[routeList]bool
}

func (n *news) list(l routeList) {
	if n.lists == nil {
		n.lists = map[routeList]bool{}
	}
	n.lists[l] = true
}

func (n *news) merge(other news) {
	n.all = n.all || other.all
	if n.lists == nil {
		n.lists = maps.Clone(other.lists)
		return
	}
	maps.Copy(n.lists, other.lists)
}
