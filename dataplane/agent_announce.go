package dataplane

import (
	"maps"
	"net/netip"
	"time"
)

// ownAddresses are the gateway's own addresses in virtual subnets with their MAC addresses, and its provider addresses.
type ownAddresses struct {
	inside    map[uint32]map[doorsVsidAddress]hardware // by tenant
	providers map[netip.Addr]bool
}

// ownAddresses are those that the doors have now. d.mu must be held.
func (d *Dataplane) ownAddresses() ownAddresses {
	own := ownAddresses{
		inside:    make(map[uint32]map[doorsVsidAddress]hardware),
		providers: make(map[netip.Addr]bool),
	}
	for tenant, interfaces := range d.interfaces.have {
		own.inside[tenant] = make(map[doorsVsidAddress]hardware)
		for k, i := range interfaces {
			own.inside[tenant][k] = i.mac(d.vsids.have[tenant][k.Vsid])
		}
	}
	for _, p := range d.hosts.network.providers {
		own.providers[p.Address.Addr()] = true
	}
	return own
}

// compare tells hosts of what changed among the gateway's own addresses: of an address that is new or has another MAC
// address, and of all of them when there is a provider address that was not there before.
func (a *agent) compare(now time.Time) {
	old, own := a.own, a.ownAddresses()
	a.own = own
	moved := false
	for pa := range own.providers {
		moved = moved || !old.providers[pa]
	}
	for tenant, inside := range own.inside {
		news := maps.Clone(inside)
		maps.DeleteFunc(news, func(k doorsVsidAddress, mac hardware) bool {
			before, known := old.inside[tenant][k]
			return known && before == mac && !moved
		})
		if len(news) > 0 {
			a.announce(now, tenant, news)
		}
	}
}

// announce tells all hosts of a tenant who has addresses, each in its virtual subnet.
func (a *agent) announce(now time.Time, tenant uint32, addresses map[doorsVsidAddress]hardware) {
	pupil := a.learner.pupil(tenant)
	for k, mac := range addresses {
		frame := announcement(mac, fromAddress(k.Ip))
		bound := a.vsids.have[tenant][k.Vsid].bound()
		for peer := range a.hosts.peers[tenant] {
			// The host may be known by records of other virtual subnets only, which use another provider address.
			h, err := a.hosts.network.path(hostKey{pa: fromAddress(peer), bound: bound})
			if err == nil && h.Ifindex != 0 {
				to := path{local: fromAddress(h.Local), pa: fromAddress(peer)}
				pupil.news = append(pupil.news, letter{path: to, vsid: k.Vsid, frame: frame})
			}
		}
	}
	a.learner.post(now, pupil)
}
