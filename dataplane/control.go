package dataplane

import (
	"net/netip"
	"time"
)

// notice takes in a control message of [MS-NVGREE] from a provider address. Only the host that a record names is
// believed of it.
func (l *learner) notice(now time.Time, tenant, vsid uint32, pa netip.Addr, n notice) {
	e := Event{CA: n.ca, VSID: vsid, PA: pa}
	k, ok := l.policy.lookup(tenant, n.ca)
	switch {
	case n.from != pa:
		l.refuse(now, tenant, e, "the control message comes from another provider address than it says")
		return
	case !ok || k.VSID != vsid || k.PA != pa || k.Rule != Encap:
		l.refuse(now, tenant, e, "no record names the provider address that the control message comes from")
		return
	}
	e.MAC = k.MAC
	if n.redirect {
		l.redirect(now, tenant, k.Record, n.to, e)
		return
	}
	l.unreachable(now, tenant, k.Record, e)
}

// redirect points a record at the provider address where its customer address is now.
func (l *learner) redirect(now time.Time, tenant uint32, r Record, to netip.Addr, e Event) {
	if !unicast(to) || to == r.PA || l.policy.ownProvider(to) {
		l.refuse(now, tenant, e, "the address cannot have moved to "+to.String())
		return
	}
	e.Kind, e.OldPA, e.PA = Moved, r.PA, to
	if r.Type != Dynamic {
		l.done(now, tenant, e, l.policy.move(tenant, r.CA, to))
		return
	}
	r.PA, r.Moved = to, true
	if l.done(now, tenant, e, l.policy.write(tenant, r)) {
		l.age(now, tenant, r)
	}
}

// unreachable marks a record whose host does not have its customer address. A learned one goes, and is asked for anew.
func (l *learner) unreachable(now time.Time, tenant uint32, r Record, e Event) {
	e.Kind = Stale
	if r.Type != Dynamic {
		if !r.Stale {
			l.done(now, tenant, e, l.policy.mark(tenant, r.CA, true))
		}
		return
	}
	if a := l.pupil(tenant).aged[r.CA]; a != nil {
		l.lose(a)
	}
	if l.done(now, tenant, e, l.policy.erase(tenant, r.CA)) {
		l.want(now, tenant, r.CA)
	}
}

// nics are the MAC addresses of two hosts on the provider network. That of one beyond a router is not known: the
// router's stands for it.
type nics struct {
	here, there hardware
}

// misdelivered answers a host that sent a frame for a machine that is not here: where it is, or that it is unknown. An
// address of the gateway's own is here, whatever MAC address the host still sends it to.
func (l *learner) misdelivered(now time.Time, tenant, vsid uint32, p path, n nics, frame []byte) {
	ca, ok := destinationOf(frame)
	if !ok || l.policy.isOwn(tenant, vsid, ca) || !l.pupil(tenant).notices.AllowN(now, 1) {
		return
	}
	k, ok := l.policy.lookup(tenant, ca)
	if ok && k.VSID == vsid && k.PA != p.pa && k.Rule == Encap && k.PA.Is4() == p.local.Is4() {
		l.policy.send(p, vsid, redirectFrame(n.there, n.here, p.local, k.PA, frame))
		return
	}
	l.policy.send(p, vsid, unreachableFrame(n.there, n.here, p.local, p.pa, frame))
}
