package dataplane

import (
	"container/heap"
	"net/netip"
	"time"
)

// A Dynamic record is asked after when it has been silent for three quarters of its time, and so often in the last
// quarter; then it goes.
const lastQuestions = 3

// age is how long a Dynamic record has been silent.
type age struct {
	tenant  uint32
	ca      netip.Addr
	machine vsidMAC
	heard   time.Time
	due     time.Time // when something is to be done
	asked   int
	revised bool // what policy says of the machine changed since
	place   int  // in ages
}

// ages are in order of what is due next.
type ages []*age

func (a ages) Len() int           { return len(a) }
func (a ages) Less(i, j int) bool { return a[i].due.Before(a[j].due) }
func (a ages) Swap(i, j int)      { a[i], a[j] = a[j], a[i]; a[i].place, a[j].place = i, j }

// Push is for package heap.
func (a *ages) Push(x any) {
	one := x.(*age)
	one.place = len(*a)
	*a = append(*a, one)
}

// Pop is for package heap.
func (a *ages) Pop() any {
	last := (*a)[len(*a)-1]
	(*a)[len(*a)-1] = nil
	*a = (*a)[:len(*a)-1]
	return last
}

func (a *ages) remove(one *age) { heap.Remove(a, one.place) }

// age notes that a Dynamic record was heard of.
func (l *learner) age(now time.Time, tenant uint32, r Record) {
	l.note(tenant, r, now, now.Add(l.ageing*3/4))
}

// adopt notes a Dynamic record that was there before the learner. How long it has been silent is not known; records are
// asked after at different times, so that many do not answer at once.
func (l *learner) adopt(now time.Time, tenant uint32, r Record) {
	var sum uint32
	for _, b := range r.CA.As16() {
		sum = sum*31 + uint32(b)
	}
	due := now.Add(l.ageing/4 + l.ageing/2*time.Duration(sum%1024)/1024)
	if m, ok := l.policy.machine(tenant, r.VSID, hardware(r.MAC)); !ok || m.pa != r.PA && !r.Moved {
		due = now
	}
	l.note(tenant, r, now, due)
}

func (l *learner) note(tenant uint32, r Record, heard, due time.Time) {
	p := l.pupil(tenant)
	a := p.aged[r.CA]
	if a == nil {
		a = &age{tenant: tenant, ca: r.CA}
		p.aged[r.CA] = a
		heap.Push(&l.ages, a)
	}
	p.leave(a)
	a.machine = vsidMAC{vsid: r.VSID, mac: hardware(r.MAC)}
	if p.machines[a.machine] == nil {
		p.machines[a.machine] = make(map[*age]struct{})
	}
	p.machines[a.machine][a] = struct{}{}
	a.heard, a.due, a.asked, a.revised = heard, due, 0, false
	heap.Fix(&l.ages, a.place)
}

func (p *pupil) leave(a *age) {
	delete(p.machines[a.machine], a)
	if len(p.machines[a.machine]) == 0 {
		delete(p.machines, a.machine)
	}
}

func (l *learner) lose(a *age) {
	p := l.pupil(a.tenant)
	p.leave(a)
	delete(p.aged, a.ca)
	l.ages.remove(a)
}

// revise makes the learned records of a machine follow its L2Only record, which changed or went, at the next tick.
func (l *learner) revise(now time.Time, tenant uint32, m vsidMAC) {
	if p := l.pupils[tenant]; p != nil {
		for a := range p.machines[m] {
			a.due, a.revised = now, true
			heap.Fix(&l.ages, a.place)
		}
	}
}

// tick does what is due and tells when to come again; zero if nothing will be due.
func (l *learner) tick(now time.Time) time.Time {
	for len(l.ages) > 0 && !l.ages[0].due.After(now) {
		l.expire(now, l.ages[0])
	}
	var next time.Time
	if len(l.ages) > 0 {
		next = l.ages[0].due
	}
	for p := range l.busy {
		l.post(now, p)
		if soon := now.Add(time.Second / questionRate); p.posts() && (next.IsZero() || soon.Before(next)) {
			next = soon
		}
	}
	return next
}

// expire asks after a record that has been silent, or deletes it. One that was changed by others is no longer ours, and
// one whose machine policy now has elsewhere, or nowhere, follows.
func (l *learner) expire(now time.Time, a *age) {
	k, ok := l.policy.lookup(a.tenant, a.ca)
	if !ok || k.Type != Dynamic {
		l.lose(a)
		return
	}
	e := Event{Kind: Aged, CA: k.CA, VSID: k.VSID, MAC: k.MAC, PA: k.PA}
	m, ok := l.policy.machine(a.tenant, a.machine.vsid, a.machine.mac)
	switch {
	case !ok || a.asked == lastQuestions:
		l.lose(a)
		l.done(now, a.tenant, e, l.policy.erase(a.tenant, k.CA))
	case m.pa != k.PA && (a.revised || !k.Moved):
		e.Kind, e.PA, e.OldPA = Moved, m.pa, k.PA
		k.PA, k.Moved = m.pa, false
		l.age(now, a.tenant, k.Record)
		l.done(now, a.tenant, e, l.policy.write(a.tenant, k.Record))
	case a.revised:
		l.age(now, a.tenant, k.Record)
	default:
		if from, ok := l.policy.speaker(a.tenant, k.VSID, a.ca); ok {
			frame := question(hardware(k.MAC), from.mac, from.ca, a.ca)
			l.ask(now, a.tenant, letter{path: k.path(), vsid: k.VSID, frame: frame})
		}
		a.asked++
		a.due = now.Add(l.ageing / 4 / lastQuestions)
		heap.Fix(&l.ages, a.place)
	}
}
