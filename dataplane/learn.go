package dataplane

import (
	"net/netip"
	"time"
)

// What one tenant may cost.
const (
	// A machine that is known by its MAC address may have this many customer addresses. Without a bound, one that makes
	// up addresses would fill the table that all tenants share.
	addressesPerMachine = 64
	// Between two machines that claim one address, the address changes hands no more often.
	handover = time.Second
	// Addresses that are asked for at a time. A scan by a compartment wants many that nobody has.
	wishesPerTenant = 1024
	// The wait before an address is asked for again, doubled with each question up to the longest.
	firstWish, longestWish = time.Second, 32 * time.Second
)

// path is the way of a frame over the provider network, between two provider addresses.
type path struct {
	local, pa netip.Addr
}

// machine is one that is known by its MAC address: an L2Only record, with the address of ours that it is reached from.
type machine struct {
	path
	mac hardware
}

// known is a lookup record, with the provider address of ours that its host is reached from.
type known struct {
	Record
	local netip.Addr
}

func (k known) path() path { return path{local: k.local, pa: k.PA} }

// speaker is whom the gateway asks as in a virtual subnet.
type speaker struct {
	mac hardware
	ca  netip.Addr
}

// policy is what the learner asks of the doors and does to them. Tenants go by number.
type policy interface {
	lookup(tenant uint32, ca netip.Addr) (known, bool)
	// machine is the L2Only record of a MAC address in a virtual subnet, machines all of them.
	machine(tenant, vsid uint32, mac hardware) (machine, bool)
	machines(tenant, vsid uint32) []machine
	// subnet is the virtual subnet that a customer address lies in.
	subnet(tenant uint32, ca netip.Addr) (vsid uint32, ok bool)
	// nextHop is where a customer route leads to.
	nextHop(tenant uint32, ca netip.Addr) (netip.Addr, bool)
	// isOwn tells whether the gateway itself has the customer address, ownProvider whether it has the provider address.
	isOwn(tenant, vsid uint32, ca netip.Addr) bool
	ownProvider(pa netip.Addr) bool
	speaker(tenant, vsid uint32, ca netip.Addr) (speaker, bool)
	// write makes or replaces a Dynamic record, erase deletes one.
	write(tenant uint32, r Record) error
	erase(tenant uint32, ca netip.Addr) error
	// move points a declared record at another provider address, mark says whether it is stale.
	move(tenant uint32, ca, pa netip.Addr) error
	mark(tenant uint32, ca netip.Addr, stale bool) error
	// refused counts a message that is not believed.
	refused(tenant uint32)
	// tell and send hand over an event and an inner frame.
	tell(tenant uint32, e Event)
	send(p path, vsid uint32, frame []byte)
}

// learner decides what messages from the provider network change in the policy. It reads no clock.
type learner struct {
	policy policy
	ageing time.Duration
	pupils map[uint32]*pupil
	busy   map[*pupil]struct{} // those with something in the outbox
	ages   ages
}

func newLearner(p policy, ageing time.Duration) *learner {
	return &learner{policy: p, ageing: ageing, pupils: make(map[uint32]*pupil), busy: make(map[*pupil]struct{})}
}

// take deals with one event that the doors raised. nic is the MAC address of the link that has our provider address.
func (l *learner) take(now time.Time, e doorsEvent, nic hardware) {
	frame := e.Frame[:min(int(e.Length), len(e.Frame))]
	p := path{local: fromAddress(e.Local), pa: fromAddress(e.Pa)}
	switch e.Kind {
	case doorsEventKindEVENT_NEIGHBOUR:
		if h, ok := parseNeighbour(frame); ok {
			l.hear(now, e.Tenant, e.Vsid, p.pa, h)
		}
	case doorsEventKindEVENT_WANTED:
		if ca, ok := destinationOf(frame); ok {
			l.want(now, e.Tenant, ca)
		}
	case doorsEventKindEVENT_CONTROL:
		n, ok := parseNotice(frame)
		if !ok {
			l.policy.refused(e.Tenant)
			return
		}
		l.notice(now, e.Tenant, e.Vsid, p.pa, n)
	case doorsEventKindEVENT_MISDELIVERED:
		l.misdelivered(now, e.Tenant, e.Vsid, p, nics{here: nic, there: e.Nic}, frame)
	}
}

// hear takes in what a machine said of itself, in a frame from a provider address.
func (l *learner) hear(now time.Time, tenant, vsid uint32, pa netip.Addr, h heard) {
	e := Event{CA: h.ca, VSID: vsid, MAC: h.mac[:], PA: pa}
	if where, ok := l.policy.subnet(tenant, h.ca); !ok || where != vsid {
		l.refuse(now, tenant, e, "the address is not in that virtual subnet")
		return
	}
	if l.policy.isOwn(tenant, vsid, h.ca) {
		l.refuse(now, tenant, e, "the address is the gateway's own")
		return
	}
	old, exists := l.policy.lookup(tenant, h.ca)
	same := exists && old.VSID == vsid && hardware(old.MAC) == h.mac && old.PA == pa
	if exists && old.Type != Dynamic {
		l.hearDeclared(now, tenant, e, old.Record, same)
		return
	}
	m, ok := l.policy.machine(tenant, vsid, h.mac)
	switch {
	case !ok:
		l.refuse(now, tenant, e, "no L2Only record has the MAC address")
	case same && (m.pa == pa || old.Moved):
		l.age(now, tenant, old.Record)
	case m.pa != pa:
		l.refuse(now, tenant, e, "the L2Only record of the MAC address names another provider address")
	default:
		l.learn(now, tenant, e, old, exists)
	}
}

// hearDeclared takes in what confirms a record that policy declares, or contradicts it and changes nothing.
func (l *learner) hearDeclared(now time.Time, tenant uint32, e Event, r Record, same bool) {
	if !same {
		l.refuse(now, tenant, e, "a record that is not learned has the address")
		return
	}
	if r.Stale {
		e.Kind = Learned
		l.done(now, tenant, e, l.policy.mark(tenant, r.CA, false))
	}
}

// learn makes a Dynamic record of what was heard.
func (l *learner) learn(now time.Time, tenant uint32, e Event, old known, exists bool) {
	p := l.pupil(tenant)
	last := p.aged[e.CA]
	if exists && last != nil && now.Sub(last.heard) < handover {
		l.refuse(now, tenant, e, "another machine claimed the address just before")
		return
	}
	if len(p.machines[vsidMAC{e.VSID, hardware(e.MAC)}]) >= addressesPerMachine {
		l.refuse(now, tenant, e, "the machine has too many addresses already")
		return
	}
	r := Record{Type: Dynamic, CA: e.CA, VSID: e.VSID, MAC: e.MAC, PA: e.PA}
	e.Kind = Learned
	if exists {
		e.Kind, e.OldPA = Moved, old.PA
	}
	if l.done(now, tenant, e, l.policy.write(tenant, r)) {
		delete(p.wishes, e.CA)
		l.age(now, tenant, r)
	}
}

// done tells of a change, or of the doors' refusal.
func (l *learner) done(now time.Time, tenant uint32, e Event, err error) bool {
	if err != nil {
		l.refuse(now, tenant, e, err.Error())
		return false
	}
	l.policy.tell(tenant, e)
	return true
}

// refuse counts what is not believed, and tells of the first of many.
func (l *learner) refuse(now time.Time, tenant uint32, e Event, reason string) {
	l.policy.refused(tenant)
	if l.pupil(tenant).refusals.AllowN(now, 1) {
		e.Kind, e.Reason = Refused, reason
		l.policy.tell(tenant, e)
	}
}

// want asks every machine of a virtual subnet whose addresses are learned whether it has an address that a compartment
// sent something to, or the next hop towards that.
func (l *learner) want(now time.Time, tenant uint32, ca netip.Addr) {
	vsid, ok := l.policy.subnet(tenant, ca)
	if !ok {
		if ca, ok = l.policy.nextHop(tenant, ca); ok {
			vsid, ok = l.policy.subnet(tenant, ca)
		}
	}
	if !ok || l.policy.isOwn(tenant, vsid, ca) {
		return
	}
	if _, exists := l.policy.lookup(tenant, ca); exists {
		return
	}
	p := l.pupil(tenant)
	from, ok := l.policy.speaker(tenant, vsid, ca)
	if !ok || len(p.outbox) >= letters/2 || !p.wish(now, ca) {
		return
	}
	for _, m := range l.policy.machines(tenant, vsid) {
		l.ask(now, tenant, letter{path: m.path, vsid: vsid, frame: question(m.mac, from.mac, from.ca, ca)})
	}
}

// ask sends a question, as soon as the tenant may send one more.
func (l *learner) ask(now time.Time, tenant uint32, q letter) {
	p := l.pupil(tenant)
	if len(p.outbox) < letters {
		p.outbox = append(p.outbox, q)
	}
	l.post(now, p)
}

// post sends what may be sent by now.
func (l *learner) post(now time.Time, p *pupil) {
	for _, box := range []*[]letter{&p.outbox, &p.news} {
		for len(*box) > 0 && p.questions.AllowN(now, 1) {
			q := (*box)[0]
			*box = (*box)[1:]
			l.policy.send(q.path, q.vsid, q.frame)
		}
	}
	if p.posts() {
		l.busy[p] = struct{}{}
	} else {
		delete(l.busy, p)
	}
}
