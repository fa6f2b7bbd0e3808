package vpn

import (
	"maps"
	"slices"
)

// loaded is what charon has of ours under one name.
type loaded struct {
	// conns and secrets are their names at charon. An entry with neither has an SA.
	conns, secrets []string
	// known is set when iface is what this Manager loaded, and all of it. Otherwise view is all that charon tells about a
	// connection which an earlier daemon loaded.
	known bool
	iface complete
	view  connection
	// who is the peer that opens it: of what is loaded, or is about to be.
	who who
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
	iface  complete
	stale  staleSAs
}

// plan compares what charon has of one tenant with what is wanted, both by the name at charon. Removals come first: an
// interface may take over the peer of one that goes. Nothing is planned for what is as it should be.
func plan(have map[string]loaded, want map[string]complete) []step {
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
		case ok && got.known && got.iface.equal(wanted):
			continue
		case !ok, got.known && got.iface.sameTunnel(wanted.Interface):
			s.stale = staleNone
		case got.known, len(got.conns) > 0 && !got.view.fits(wanted):
			s.stale = staleAll
		default:
			s.stale = staleMismatch
		}
		steps = append(steps, s)
	}
	return steps
}
