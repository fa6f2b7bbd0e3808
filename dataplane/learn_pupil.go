package dataplane

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// Rates, per tenant and second, and what may come at once.
const (
	questionRate, questionBurst = 500, 500
	noticeRate, noticeBurst     = 10, 20
	refusalRate, refusalBurst   = 0.1, 10
	// Questions that wait for their turn; what is beyond is not asked.
	letters = 4096
)

// letter is a frame on its way to a host.
type letter struct {
	path
	vsid  uint32
	frame []byte
}

// vsidMAC is a machine in a virtual subnet.
type vsidMAC struct {
	vsid uint32
	mac  hardware
}

// wish is a customer address that somebody asked for and nobody has yet.
type wish struct {
	next time.Time
	wait time.Duration
}

// pupil is what is remembered of one tenant.
type pupil struct {
	questions, notices, refusals *rate.Limiter

	outbox   []letter // questions
	news     []letter // announcements, of which there may be many and which can wait
	wishes   map[netip.Addr]wish
	aged     map[netip.Addr]*age
	machines map[vsidMAC]map[*age]struct{} // aged, by machine
}

// posts tells whether something waits to be sent.
func (p *pupil) posts() bool { return len(p.outbox)+len(p.news) > 0 }

func (l *learner) pupil(tenant uint32) *pupil {
	p := l.pupils[tenant]
	if p == nil {
		p = &pupil{
			questions: rate.NewLimiter(questionRate, questionBurst),
			notices:   rate.NewLimiter(noticeRate, noticeBurst),
			refusals:  rate.NewLimiter(refusalRate, refusalBurst),
			wishes:    make(map[netip.Addr]wish),
			aged:      make(map[netip.Addr]*age),
			machines:  make(map[vsidMAC]map[*age]struct{}),
		}
		l.pupils[tenant] = p
	}
	return p
}

// forget drops what is remembered of a tenant, whose number another may get.
func (l *learner) forget(tenant uint32) {
	if p := l.pupils[tenant]; p != nil {
		for _, a := range p.aged {
			l.ages.remove(a)
		}
		delete(l.busy, p)
		delete(l.pupils, tenant)
	}
}

// wish tells whether an address should be asked for now.
func (p *pupil) wish(now time.Time, ca netip.Addr) bool {
	w, known := p.wishes[ca]
	switch {
	case known && now.Before(w.next):
		return false
	case known && now.Sub(w.next) < longestWish:
		w.wait = min(2*w.wait, longestWish)
	default:
		w.wait = firstWish
	}
	if !known && len(p.wishes) >= wishesPerTenant {
		for other, old := range p.wishes {
			if now.After(old.next) {
				delete(p.wishes, other)
			}
		}
		if len(p.wishes) >= wishesPerTenant {
			return false
		}
	}
	w.next = now.Add(w.wait)
	p.wishes[ca] = w
	return true
}
