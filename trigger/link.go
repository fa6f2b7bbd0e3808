package trigger

import (
	"fmt"
	"time"
)

// state is what happens to the packets of a link, and the name of the chain that does it.
type state string

const (
	// held: they wait for the tunnel.
	held state = "held"
	// refused: they are answered, because the tunnel cannot be had.
	refused state = "refused"
	// open: they pass. The kernel remembers that too, so that a restarted daemon holds nothing of a tunnel that is up.
	open state = "open"
)

// link is one interface that packets may have to wait for.
type link struct {
	name   string
	state  state
	kernel state     // as the kernel was told
	asked  time.Time // when Wanted was called last; zero when the next packet is to call it
	spared time.Time // until when the kernel answers for us
	packet []packet  // held, the oldest first
	timer  *time.Timer
}

// packet is a packet in the kernel's queue.
type packet struct {
	id    uint32
	since time.Time
}

// become gives a link another state. What the link held is decided before the kernel is told, and what the kernel has
// queued in between is decided as it comes: nothing is lost on the way.
func (t *Trigger) become(name string, s state) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.links[name]
	switch {
	case t.closed:
		return errClosed
	case l == nil:
		return fmt.Errorf("hold packets: the link %s is not declared", name)
	}
	if l.state != s || s == held {
		l.asked = time.Time{}
	}
	l.state = s
	switch s {
	case open:
		t.settle(l, markNone)
	case refused:
		t.settle(l, markRefused)
	}
	if l.kernel == s {
		return nil
	}
	if err := writeStates(t.ns, map[string]state{name: l.kernel}, map[string]state{name: s}); err != nil {
		return fmt.Errorf("hold packets: link %s: %w", name, err)
	}
	l.kernel = s
	return nil
}

// settle decides on all packets of the link. mu must be held.
func (t *Trigger) settle(l *link, mark uint32) {
	for _, p := range l.packet {
		t.decide(p.id, mark)
	}
	t.total -= len(l.packet)
	l.packet = nil
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// judge decides on a packet that has just come, or holds it, and tells whether its tunnel is to be asked for. mu must
// be held.
func (t *Trigger) judge(l *link, id uint32, now time.Time) (ask bool) {
	switch {
	case l.state == open:
		t.decide(id, markNone)
		return false
	case l.state == refused:
		t.decide(id, markRefused)
		t.spare(l, now)
	case len(l.packet) >= t.options.PerLink || t.total >= t.options.Total:
		t.decide(id, markTooMany)
		t.spare(l, now)
	default:
		l.packet = append(l.packet, packet{id: id, since: now})
		t.total++
		if l.timer == nil {
			l.timer = time.AfterFunc(t.options.Patience, func() { t.expire(l) })
		}
	}
	if now.Sub(l.asked) < askAgain {
		return false
	}
	l.asked = now
	return true
}

// spare has the kernel drop or answer the link's packets by itself for as long as they would ask for nothing new, so
// that a flood costs this process one packet a second. It ends by itself: a dead daemon's rules must not stop what
// comes up without it. mu must be held.
func (t *Trigger) spare(l *link, now time.Time) {
	if now.Before(l.spared) || l.kernel != l.state {
		return
	}
	l.spared = now.Add(askAgain)
	if err := writeSpared(t.ns, l.name, l.state); err != nil {
		t.options.Log.Warn("packets are answered one by one", "interface", l.name, "error", err)
	}
}

// expire drops what the link has held for too long.
func (t *Trigger) expire(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.timer == nil {
		return // all were decided on while this waited for the lock
	}
	now := time.Now()
	for len(l.packet) > 0 && now.Sub(l.packet[0].since) >= t.options.Patience {
		t.decide(l.packet[0].id, markLate)
		l.packet = l.packet[1:]
		t.total--
	}
	if len(l.packet) == 0 {
		l.packet, l.timer = nil, nil
		return
	}
	l.timer.Reset(t.options.Patience - now.Sub(l.packet[0].since))
}
