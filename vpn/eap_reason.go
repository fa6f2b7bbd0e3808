package vpn

import (
	"regexp"
	"strings"
	"time"
)

var (
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
	case strings.HasPrefix(line, toRefuser):
		user := w.users[id]
		w.eapFailed(user, id, "no S2S interface has the user name "+user+", which RADIUS accepted", now)
	case strings.HasPrefix(line, switching):
		// What one connection missed explains nothing when the next one is tried.
		delete(w.reasons, id)
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

// eapFailed reports that a user was refused.
func (w *watcher) eapFailed(user, id, reason string, now time.Time) {
	delete(w.users, id)
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
