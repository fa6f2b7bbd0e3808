package vpn

import (
	"strings"
	"time"

	"github.com/strongswan/govici/vici"
)

// EventKind says what happened to a tunnel.
type EventKind string

// What happens to tunnels.
const (
	// Up: traffic can pass, and could not before.
	Up EventKind = "up"
	// Adopted: traffic can pass, and did not wait for this Manager, which found the tunnel standing. Nothing happened to
	// the tunnel: it is told once, so that a log names every tunnel that is in use.
	Adopted EventKind = "adopted"
	// Down: traffic could pass and cannot any more.
	Down EventKind = "down"
	// Failed: an attempt to bring it up failed, ours or the peer's.
	Failed EventKind = "failed"
	// WentUnreachable: after a Failed or a Down, the tunnel entered the state [Unreachable]. It is told once, until Up ends
	// that; an operator's Disconnect or Reset and a changed declaration end it too, without an Event.
	WentUnreachable EventKind = "unreachable"
)

// Event tells of a change. What Tunnels says may already be newer.
type Event struct {
	// Tenant and Interface are empty where a peer was refused that no interface expects.
	Tenant, Interface string
	Kind              EventKind
	// Peer is the address:port that the tunnel went to or came from.
	Peer string
	// Reason of a Down, Failed or WentUnreachable in an operator's words.
	Reason string
	Time   time.Time
}

// subscriptions are charon's events that the Manager needs, besides its log.
var subscriptions = []string{"ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey"}

// logSubscription is charon's log, which comes by a session of its own.
const logSubscription = "log"

// The pauses between two looks at each session, when little comes.
const (
	eventPause = 5 * time.Millisecond
	logPause   = 100 * time.Millisecond
)

// watcher turns charon's events into changes of the Manager's tunnels and Events. One goroutine uses it.
type watcher struct {
	m       *Manager
	reasons map[string]said   // why an IKE_SA may be about to end, by its id
	who     map[string]string // whom charon looks for, by IKE_SA
	users   map[string]string // the users whom RADIUS accepted, by IKE_SA
	told    map[string]bool   // IKE_SAs whose user was reported to be refused
	pending []pending         // Events that wait for their reason, oldest first
	late    map[string]Event  // Events that were told without a reason, by the id of their IKE_SA
}

// pending is an Event whose reason has not been said yet: charon hands its log lines to another thread, so that they
// may come after the event that they explain.
type pending struct {
	event    Event
	ike      string
	deadline time.Time
}

// said is a reason and when it was given. The first one counts, what follows is its consequence; but one that nothing
// came of does not explain an end long after it.
type said struct {
	reason string
	at     time.Time
	passed bool // charon has turned to another connection since
}

const reasonLasts = 5 * time.Second

// reasonPatience is how long an Event waits for its reason; longer than the longest pause between two looks at the log.
const reasonPatience = 1200 * time.Millisecond

func (m *Manager) newWatcher() *watcher {
	return &watcher{
		m: m, reasons: map[string]said{}, who: map[string]string{}, users: map[string]string{}, told: map[string]bool{},
		late: map[string]Event{},
	}
}

// run follows charon's events and its log until either session ends.
func (w *watcher) run(events, log <-chan vici.Event) {
	for {
		var expired <-chan time.Time
		if len(w.pending) > 0 {
			expired = time.After(time.Until(w.pending[0].deadline))
		}
		select {
		case ev, ok := <-events:
			if !ok {
				w.settle(func(pending) bool { return true }, "")
				return
			}
			w.handle(ev)
		case ev, ok := <-log:
			if !ok {
				w.settle(func(pending) bool { return true }, "")
				return
			}
			w.handle(ev)
		case now := <-expired:
			w.settle(func(p pending) bool { return !now.Before(p.deadline) }, "")
		}
	}
}

// handle takes one event of charon's.
func (w *watcher) handle(ev vici.Event) {
	if ev.Message == nil {
		return
	}
	if ev.Name == logSubscription {
		w.logLine(ev.Message, ev.Timestamp)
		return
	}
	name, s, ok := firstSection(ev.Message)
	if !ok {
		return
	}
	up := text(ev.Message, "up") == "yes"
	if (name == eapCatcher || name == eapRefuser) && ev.Name == "ike-updown" && !up {
		w.refusedAtGate(s, ev.Timestamp)
	}
	if _, _, ours := splitName(name); !ours {
		return
	}
	name = baseName(name)
	w.m.mu.Lock()
	t := w.m.tunnel(name)
	if ev.Name == "ike-update" {
		t.moved(text(s, "uniqueid"), ev.Message)
	}
	e, changed := w.change(t, ev.Name, up, name, s, ev.Timestamp)
	changed = changed && t.declared
	w.m.prune(name)
	w.m.mu.Unlock()
	if !changed {
		return
	}
	// What is told of one tunnel is told in order.
	w.settle(func(p pending) bool { return p.event.Tenant == e.Tenant && p.event.Interface == e.Interface }, "")
	ike := text(s, "uniqueid")
	if e.Kind == Up {
		w.m.report(e)
		return
	}
	w.pending = append(w.pending, pending{e, ike, time.Now().Add(reasonPatience)})
	if s, ok := w.reasons[ike]; ok && !s.passed && ev.Timestamp.Sub(s.at) < reasonLasts {
		w.settle(func(p pending) bool { return p.ike == ike }, s.reason)
	}
}

// settle reports those pending Events that are meant. Without a reason they get the one that they have.
func (w *watcher) settle(meant func(pending) bool, reason string) {
	var left []pending
	for _, p := range w.pending {
		if !meant(p) {
			left = append(left, p)
			continue
		}
		if reason != "" {
			p.event.Reason = reason
			w.explain(p.event)
		} else if p.ike != "" {
			remember(w.late, p.ike, p.event)
		}
		w.m.report(p.event)
	}
	w.pending = left
}

// explain notes the reason of an Event at its tunnel.
func (w *watcher) explain(e Event) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	t := w.m.tunnels[connName(e.Tenant, e.Interface)]
	if t == nil || !t.declared {
		return
	}
	if e.Kind == Failed || !t.up() {
		t.explain(e.Reason, e.Time)
	}
	switch {
	case e.Kind != Down || t.up():
	case e.Reason == noAnswer:
		t.unreachable(e.Time)
	case strings.HasPrefix(e.Reason, idle):
		// A tunnel that nobody used has not failed, however short it stood.
		t.dial.attempts, t.dial.next = 0, e.Time
	}
}

// logLine reads one line of charon's log.
func (w *watcher) logLine(m *vici.Message, now time.Time) {
	line, id := text(m, "msg"), text(m, "ikesa-uniqueid")
	if peer, reason, ok := stranger(line, w.who, id); ok {
		w.m.report(w.m.atAddress(line, Event{Kind: Failed, Peer: peer, Reason: reason, Time: now}))
		return
	}
	w.eapLine(line, id, now)
	if identityRefused(line) {
		w.m.turn(baseName(text(m, "ikesa-name")))
	}
	reason := explain(line)
	if reason == "" || eapPasses.MatchString(line) || id == "" {
		return
	}
	if s, ok := w.reasons[id]; !ok || s.passed || now.Sub(s.at) >= reasonLasts {
		remember(w.reasons, id, said{reason: reason, at: now})
		w.settle(func(p pending) bool { return p.ike == id }, reason)
		if e, ok := w.late[id]; ok && now.Sub(e.Time) < reasonLasts {
			e.Reason = reason
			w.explain(e)
			w.m.followUp(e)
		}
		delete(w.late, id)
	}
	if dialFailed(line) || answerFailed(line) {
		w.dialFailed(baseName(text(m, "ikesa-name")), dialFailed(line), reason, now)
	}
}

// dialFailed notes the end of a dial of which no event tells.
func (w *watcher) dialFailed(name string, ours bool, reason string, now time.Time) {
	w.m.mu.Lock()
	t := w.m.tunnels[name]
	if t == nil || !t.declared || t.up() {
		w.m.mu.Unlock()
		return
	}
	e := t.event(Failed, reason, now)
	t.didNotComeUp(reason, ours || t.dial.underWay(), now)
	w.m.mu.Unlock()
	w.m.report(e)
}
