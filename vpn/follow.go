package vpn

import (
	"cmp"
	"time"

	"github.com/strongswan/govici/vici"
)

// change follows one event and tells whether it is worth an Event. It must be called with the Manager's mu held.
func (w *watcher) change(t *tunnel, event string, up bool, name string, s *vici.Message, now time.Time) (Event, bool) {
	wasUp := t.up()
	switch event {
	case "ike-rekey":
		t.rekeyIKE(text(section(s, "old"), "uniqueid"), ike{parseIKE(name, section(s, "new")), now})
		return Event{}, false
	case "ike-update":
		return Event{}, false
	case "child-rekey":
		if _, pair, ok := firstSection(section(s, "child-sas")); ok {
			delete(t.children, text(section(pair, "old"), "uniqueid"))
			c := child{parseChild(section(pair, "new")), text(s, "uniqueid"), now}
			t.children[c.id] = c
		}
		return Event{}, false
	}
	sa := parseIKE(name, s)
	failed, closed := false, false
	switch {
	case event == "ike-updown" && up:
		t.ikes[sa.id] = ike{sa, now}
	case event == "ike-updown":
		_, established := t.ikes[sa.id]
		t.dropIKE(sa.id)
		// One that stood without a child ends a dial as well: it could not make the child.
		failed = !established || t.dial.underWay() && len(t.ikes) == 0
		closed = w.m.client != nil && w.m.client.toldToEnd(sa.id)
	case event == "child-updown":
		for _, c := range sa.children {
			if up {
				t.children[c.id] = child{c, sa.id, now}
			} else {
				delete(t.children, c.id)
			}
		}
	}
	t.suspect(now)
	e := t.event("", "", now)
	e.Peer = sa.peer
	switch {
	case t.up() && !wasUp:
		e.Kind = Up
		t.cameUp(now)
	case !t.up() && wasUp:
		e.Kind, e.Reason = Down, "closed"
		t.wentDown(e.Reason, now)
	case failed && closed:
		// Nothing that was tried has failed: whoever told charon to end it knows.
		t.dial.until = time.Time{}
		return Event{}, false
	case failed:
		e.Kind, e.Reason = Failed, "the negotiation failed"
		t.didNotComeUp(e.Reason, sa.initiator, now)
	default:
		return Event{}, false
	}
	return e, true
}

// rekeyIKE notes that an IKE_SA was replaced, its children with it.
func (t *tunnel) rekeyIKE(from string, to ike) {
	delete(t.ikes, from)
	t.ikes[to.id] = to
	for id, c := range t.children {
		if c.ike == from {
			c.ike = to.id
			t.children[id] = c
		}
	}
}

// moved notes that an IKE_SA changed its addresses (MOBIKE, or NAT), which charon tells beside the SA.
func (t *tunnel) moved(id string, m *vici.Message) {
	if sa, ok := t.ikes[id]; ok {
		sa.local = cmp.Or(endpoint(m, "local-host", "local-port"), sa.local)
		sa.peer = cmp.Or(endpoint(m, "remote-host", "remote-port"), sa.peer)
		t.ikes[id] = sa
	}
}

// dropIKE notes that an IKE_SA is gone, and its children with it.
func (t *tunnel) dropIKE(id string) {
	delete(t.ikes, id)
	for child, c := range t.children {
		if c.ike == id {
			delete(t.children, child)
		}
	}
}

func (t *tunnel) cameUp(now time.Time) {
	t.since = now
	t.reachable()
	t.dial.connected(now)
}

func (t *tunnel) wentDown(reason string, now time.Time) {
	t.since = now
	t.explain(reason, now)
	t.dial.ended(now, true)
}

// didNotComeUp notes a failure, ours or the peer's. One of ours makes the tunnel unreachable.
func (t *tunnel) didNotComeUp(reason string, ours bool, now time.Time) {
	t.explain(reason, now)
	if !ours || t.up() {
		return
	}
	t.dial.ended(now, false)
	t.unreachable(now)
}
