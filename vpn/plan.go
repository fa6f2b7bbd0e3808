package vpn

import (
	"maps"
	"slices"
	"strings"
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

// peers is interfaces by what another one may clash with them over, so that one of thousands is checked at once.
type peers struct {
	all      map[string]Interface
	by       map[string][]string // names, by each identity in its canonical form, and by user name
	subjects []string            // names of those whose peer's identity is a subject, which may overlap with others
}

func newPeers() *peers { return &peers{all: map[string]Interface{}, by: map[string][]string{}} }

// add takes in an interface under its name at charon, once.
func (p *peers) add(name string, i Interface) {
	p.all[name] = i
	for _, key := range i.clashKeys() {
		p.by[key] = append(p.by[key], name)
	}
	if strings.Contains(i.peerID(), "=") {
		p.subjects = append(p.subjects, name)
	}
}

// clash finds another interface, of any tenant, whose peer could be taken for this one's: with a pre-shared key, one
// peer's key would open the other's tunnel. It returns that one's name at charon, or "".
func (p *peers) clash(name string, i Interface) string {
	var found string
	look := func(others []string) {
		for _, other := range others {
			if other != name && (found == "" || other < found) && i.clashes(p.all[other]) {
				found = other
			}
		}
	}
	// Two may share the gateway's identity: what counts is the peer's, against either of the other's.
	peer, local, user := "peer "+canonicalID(i.peerID()), "local "+canonicalID(i.peerID()), "user "+strings.ToLower(i.UserName)
	for _, key := range []string{peer, local, "peer " + canonicalID(i.LocalID), user} {
		look(p.by[key])
	}
	if strings.Contains(i.peerID(), "=") {
		look(p.subjects)
	}
	return found
}

// clashKeys is what an interface is found by.
func (i Interface) clashKeys() []string {
	keys := []string{"peer " + canonicalID(i.peerID()), "local " + canonicalID(i.LocalID)}
	if i.UserName != "" {
		keys = append(keys, "user "+strings.ToLower(i.UserName))
	}
	return keys
}

// clashes must be the same both ways.
func (i Interface) clashes(o Interface) bool {
	if i.UserName != "" && strings.EqualFold(i.UserName, o.UserName) {
		return true
	}
	if i.Method == EAP || o.Method == EAP {
		return i.sameAccount(o) // RemoteID is only whom we dial
	}
	return overlap(i.peerID(), o.peerID()) || sameID(i.peerID(), o.LocalID) || sameID(i.LocalID, o.peerID())
}
