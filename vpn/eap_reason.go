package vpn

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/strongswan/govici/vici"
)

var (
	// eapPasses are lines of a user who passes the connections that are not his.
	eapPasses = regexp.MustCompile(`^constraint check failed: (EAP identity |group membership to '` + nobodysGroup + `')|` +
		`^selected peer config '(` + eapCatcher + `|` + eapRefuser + `|.*` + answering +
		`)' unacceptable: non-matching authentication`)
	eapRefused  = regexp.MustCompile(`^RADIUS authentication of '(.*)' failed`)
	eapAccepted = regexp.MustCompile(`^RADIUS authentication of '(.*)' successful`)
	eapTimeout  = regexp.MustCompile(`^(RADIUS Access-Request timed out|(sending|receiving) RADIUS message failed)`)
)

const (
	toRefuser = "switching to peer config '" + eapRefuser + "'"
	switching = "switching to peer config '"
)

// eapLine reads a line of charon's log about a user who dials, and reports why one was refused: as a failure of the
// interface that is the user's, or of none.
func (w *watcher) eapLine(line, id string, now time.Time) {
	switch {
	case strings.HasPrefix(line, toRefuser) && w.users[id] != "":
		user := w.users[id]
		w.eapFailed(user, id, "no S2S interface has the user name "+user+", which RADIUS accepted", now)
	case strings.HasPrefix(line, switching):
		// What one connection missed explains nothing when the next one is tried, unless it comes to nothing at the gate.
		if s, ok := w.reasons[id]; ok {
			s.passed = true
			w.reasons[id] = s
		}
	case eapTimeout.MatchString(line):
		w.eapFailed("", id, "the gateway's RADIUS server does not answer", now)
	default:
		if m := eapAccepted.FindStringSubmatch(line); m != nil {
			remember(w.users, id, m[1])
		}
		if m := eapRefused.FindStringSubmatch(line); m != nil {
			w.eapFailed(m[1], id, "RADIUS refused the user "+m[1]+"; FreeRADIUS's log has the reason", now)
		}
	}
}

// refusedAtGate reports the end of an IKE_SA that got no further than the connections that all EAP users come by, unless
// it was told of the user. It may be a peer that does not want EAP at all: the gate takes whoever no interface expects.
func (w *watcher) refusedAtGate(s *vici.Message, now time.Time) {
	id := text(s, "uniqueid")
	if w.told[id] {
		delete(w.told, id)
		return
	}
	e := Event{
		Kind: Failed, Peer: endpoint(s, "remote-host", "remote-port"), Time: now,
		Reason: "no interface expects the identity " + text(s, "remote-id") + " at this address",
	}
	w.pending = append(w.pending, pending{e, id, time.Now().Add(reasonPatience)})
	if s, ok := w.reasons[id]; ok && now.Sub(s.at) < reasonLasts {
		w.settle(func(p pending) bool { return p.ike == id }, s.reason)
	}
}

// eapFailed reports that a user was refused.
func (w *watcher) eapFailed(user, id, reason string, now time.Time) {
	delete(w.users, id)
	remember(w.told, id, true)
	w.pending = slices.DeleteFunc(w.pending, func(p pending) bool { return p.ike == id })
	peer, _, _ := strings.Cut(w.who[id], " ")
	e := Event{Kind: Failed, Peer: peer, Reason: reason, Time: now}
	w.m.mu.Lock()
	for _, t := range w.m.tunnels {
		if t.declared && t.want.Method == EAP && strings.EqualFold(t.want.UserName, user) {
			e = t.event(Failed, reason, now)
			e.Peer = peer
			if !t.up() {
				t.didNotComeUp(reason, false, now)
			}
		}
	}
	w.m.mu.Unlock()
	w.m.report(e)
}
