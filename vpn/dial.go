package vpn

import (
	"math/rand/v2"
	"time"
)

const (
	// dialTick is how often due dials are looked for.
	dialTick = 200 * time.Millisecond
	// dialPatience is how long a dial counts as under way when charon says nothing about it. charon's own limit is its
	// retransmission, less than three minutes as it comes.
	dialPatience = 3 * time.Minute
	// dialsAtOnce keeps a gateway with thousands of tunnels from dialling all of them in one moment.
	dialsAtOnce = 50
	// backoffFirst doubles with each failure up to backoffMost.
	backoffFirst, backoffMost = time.Second, time.Minute
	// stable is how long a tunnel must have been up for its past failures to be forgotten.
	stable = 30 * time.Second
	// restoreAttempts is how often a tunnel that charon's end took down is dialled before traffic has to do it.
	restoreAttempts = 8
	// downTogether is how shortly before charon's end a tunnel may have gone down to count as taken down by it: a charon
	// that is told to stop closes its tunnels first.
	downTogether = 5 * time.Second
)

// dialing is the Manager's own dialling of one tunnel.
type dialing struct {
	restore  bool      // it was up when charon went
	held     bool      // an operator closed it
	attempts int       // failures in a row
	next     time.Time // not before
	until    time.Time // a dial is under way until then, unless its end is seen before
	upAt     time.Time
	downAt   time.Time
}

// due tells whether a tunnel that is down must be dialled now.
func (d *dialing) due(i Initiate, now time.Time) bool {
	return !d.held && (d.restore || i == Always) && !now.Before(d.next) && !now.Before(d.until)
}

// started notes a dial.
func (d *dialing) started(now time.Time) { d.until = now.Add(dialPatience) }

// connected notes that the tunnel came up.
func (d *dialing) connected(now time.Time) {
	d.restore, d.held, d.until, d.upAt = false, false, time.Time{}, now
}

// ended notes that the tunnel went down, or did not come up. Short-lived tunnels are failures too.
func (d *dialing) ended(now time.Time, wasUp bool) {
	d.until = time.Time{}
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
