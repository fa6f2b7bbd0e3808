package configs

import (
	"fmt"
	"slices"
)

// maxPeerName is the length of the longest name of a BGP peer or policy.
const maxPeerName = 63

// state is the word of a statement.
func (s *SwitchedPeer) state() string {
	if s.Started {
		return wordStarted
	}
	return wordStopped
}

// switchPeers makes the tenant's BGP peers stopped or not. The router that was there stays as it is, for those who read it.
func (p *policy) switchPeers() {
	if p.tenant.BGP == nil {
		return
	}
	router := *p.tenant.BGP
	router.Peers = slices.Clone(router.Peers)
	for i := range router.Peers {
		peer := &router.Peers[i]
		peer.Stopped = peer.PeeringMode == PeeringManual
		if s, ok := p.switched.get(peer.Name); ok {
			peer.Stopped = !s.Started
		}
	}
	p.tenant.BGP = &router
}

func (p *policy) changePeer(change Change) (undo func(), err error) {
	s := *change.BGPPeer
	if err := p.tenant.checkSwitched(s); err != nil && !change.Remove {
		return nil, err
	}
	old, had := p.switched.get(s.Name)
	set := func(s SwitchedPeer, is bool) {
		if is {
			p.switched.put(s, 0)
		} else {
			p.switched.remove(s.Name)
		}
		p.switchPeers()
	}
	set(s, !change.Remove)
	old.Name = s.Name
	return func() { set(old, had) }, nil
}

// checkSwitchedPeers holds the statements of the policy file that are in force to the tenant's BGP peers.
func (t tenantDoc) checkSwitchedPeers() {
	switched := t.policy.switched
	for i, s := range switched.list {
		if line := switched.line(i); line != 0 && switched.live(i) {
			if err := t.checkSwitched(s); err != nil {
				spot{policy: t.policy.file, line: line, subject: Change{BGPPeer: &s}.subject()}.bad(
					"%v; want it there, or the statement taken out", err)
			}
		}
	}
}

// checkSwitched refuses to start or stop what is no BGP peer of the tenant.
func (t *Tenant) checkSwitched(s SwitchedPeer) error {
	var names []string
	if t.BGP != nil {
		for _, p := range t.BGP.Peers {
			names = append(names, p.Name)
		}
	}
	if slices.Contains(names, s.Name) || slices.Contains(names, "") {
		return nil
	}
	if near := nearest(s.Name, names); near != "" {
		return fmt.Errorf("the tenant has no BGP peer %q; did you mean %q?", s.Name, near)
	}
	return fmt.Errorf("the tenant has no BGP peer %q; it has: %s", s.Name, orNone(names))
}
