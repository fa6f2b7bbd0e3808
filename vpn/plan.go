package vpn

import (
	"maps"
	"slices"
)

// loaded is what charon has of ours under one name.
type loaded struct {
	// conn and secret tell which of the two are there.
	conn, secret bool
	// An entry with neither has an SA.
	// known is set when iface is what this Manager loaded. Otherwise view is all that charon tells about a connection
	// which an earlier daemon loaded.
	known bool
	iface Interface
	view  connection
}

// staleSAs says which SAs of a connection do not belong to it any more.
type staleSAs int

const (
	staleNone     staleSAs = iota // none: the same ends, identities and if_id
	staleMismatch                 // those whose identities or if_id differ; an earlier daemon's have to be looked at
	staleAll                      // all
)

// step is one thing to do at charon about one interface.
type step struct {
	name   string // at charon
	remove bool   // else load
	iface  Interface
	stale  staleSAs
}

// plan compares what charon has of one tenant with what is wanted, both by the name at charon. Removals come first: an
// interface may take over the peer of one that goes. Nothing is planned for what is as it should be.
func plan(have map[string]loaded, want map[string]Interface) []step {
	var steps []step
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			steps = append(steps, step{name: name, remove: true, stale: staleAll})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		wanted := want[name]
		got, ok := have[name]
		s := step{name: name, iface: wanted}
		switch {
		case ok && got.conn && got.secret && got.known && got.iface.equal(wanted):
			continue
		case !ok, got.known && got.iface.sameTunnel(wanted):
			s.stale = staleNone
		case got.known, got.conn && !got.view.fits(wanted):
			s.stale = staleAll
		default:
			s.stale = staleMismatch
		}
		steps = append(steps, s)
	}
	return steps
}

// clash finds another interface, of any tenant, whose identities would let one peer's key open the other's tunnel. It
// returns that one's name at charon, or "".
func clash(name string, i Interface, others map[string]Interface) string {
	for _, other := range slices.Sorted(maps.Keys(others)) {
		o := others[other]
		if other == name {
			continue
		}
		if sameID(i.RemoteID, o.RemoteID) || sameID(i.RemoteID, o.LocalID) || sameID(i.LocalID, o.RemoteID) {
			return other
		}
	}
	return ""
}
