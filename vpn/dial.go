package vpn

import (
	"math/rand/v2"
	"time"
)

const (
	// dialTick is how often due dials are looked for.
	dialTick = 200 * time.Millisecond
	// dialPatience is how long a dial counts as under way when charon says nothing about it. charon itself gives up after
	// 13 s without an answer to any one message (the appliance's retransmission), and of messages there are a few.
	dialPatience = time.Minute
	// backoffFirst doubles with each failure up to backoffMost.
	backoffFirst, backoffMost = time.Second, time.Minute
	// stable is how long a tunnel must have been up for its past failures to be forgotten.
	stable = 30 * time.Second
	// restoreAttempts is how often a tunnel that the peer dials, and that charon's end took down, is dialled from here
	// before it is left to the peer again.
	restoreAttempts = 8
	// downTogether is how shortly before charon's end a tunnel may have gone down to count as taken down by it: a charon
	// that is told to stop closes its tunnels first.
	downTogether = 5 * time.Second
)

// dialing is the Manager's own dialling of one tunnel.
type dialing struct {
	asked    bool      // for by a packet or an operator, until it is up or has failed
	redial   bool      // it is unreachable, and to be dialled until it returns
	restore  bool      // it was up when charon went
	held     bool      // an operator closed it
	attempts int       // failures in a row
	next     time.Time // not before
	until    time.Time // a dial is under way until then, unless its end is seen before
	class    dialClass // of the dial that is under way
	upAt     time.Time
	downAt   time.Time
}

// dialClass says who waits for a dial. Each class has a number of its own that may be under way, so that dead peers
// never keep those that answer waiting, nor any of them a packet.
type dialClass int

const (
	dialAsked dialClass = iota // somebody waits
	dialFirst                  // what is to be up by itself
	dialAgain                  // what failed before
	dialClasses
)

// dialsAtOnce keeps a gateway with thousands of tunnels from dialling all of them in one moment. charon is at its best
// with some tens of negotiations at once, and with more each only takes longer.
var dialsAtOnce = [dialClasses]int{dialAsked: 200, dialFirst: 50, dialAgain: 50}

// due tells whether a tunnel that is down must be dialled now.
func (d *dialing) due(i Initiate, now time.Time) bool {
	return !d.held && (d.asked || d.redial || d.restore || i == Always) && !now.Before(d.next) && d.until.IsZero()
}

// who is the class of the next dial.
func (d *dialing) who() dialClass {
	switch {
	case d.asked:
		return dialAsked
	case d.attempts == 0:
		return dialFirst
	}
	return dialAgain
}

// underWay tells whether a dial has not come to an end yet.
func (d *dialing) underWay() bool { return !d.until.IsZero() }

// started notes a dial.
func (d *dialing) started(now time.Time) { d.class, d.until = d.who(), now.Add(dialPatience) }

// order has it dialled at once whatever happened before, as an operator's word.
func (d *dialing) order(now time.Time) { d.held, d.asked, d.attempts, d.next = false, true, 0, now }

// hold keeps it down.
func (d *dialing) hold() { *d = dialing{held: true, upAt: d.upAt} }

// connected notes that the tunnel came up.
func (d *dialing) connected(now time.Time) {
	*d = dialing{attempts: d.attempts, upAt: now}
}

// ended notes that the tunnel went down, or did not come up. Short-lived tunnels are failures too.
func (d *dialing) ended(now time.Time, wasUp bool) {
	d.until, d.asked = time.Time{}, false
	if wasUp {
		d.downAt = now
	}
	if wasUp && now.Sub(d.upAt) >= stable {
		d.attempts = 0
	} else {
		d.attempts++
	}
	if d.attempts >= restoreAttempts {
		d.restore = false
	}
	d.next = now.Add(backoff(d.attempts, rand.Float64()))
}

// lost notes that charon itself went while the tunnel was up, or just before.
func (d *dialing) lost(now time.Time, wasUp bool) {
	if wasUp || (!d.held && !d.downAt.IsZero() && now.Sub(d.downAt) < downTogether) {
		d.restore, d.attempts, d.next = true, 0, now
	}
	d.until, d.downAt = time.Time{}, time.Time{}
}

// backoff is the pause after so many failures in a row; spread in [0, 1) takes up to a quarter off it, so that peers
// that fell together do not come back together.
func backoff(failures int, spread float64) time.Duration {
	pause := backoffFirst / 2
	for range failures {
		pause = min(2*pause, backoffMost)
	}
	return pause - time.Duration(spread*float64(pause)/4)
}
