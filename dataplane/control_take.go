package dataplane

import "time"

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
