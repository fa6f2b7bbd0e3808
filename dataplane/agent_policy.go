package dataplane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// The doors as the learner sees them. Dataplane.mu must be held in all of these.

// decodeEvent reads an event as the kernel wrote it.
func decodeEvent(sample []byte) (e doorsEvent, ok bool) {
	if len(sample) < binary.Size(e) {
		return e, false
	}
	return e, binary.Read(bytes.NewReader(sample), binary.NativeEndian, &e) == nil
}

// take deals with an event of a tenant that is declared. Only answers need the link's address, which the kernel is asked
// for while others wait.
func (a *agent) take(now time.Time, e doorsEvent) {
	if _, ok := a.lessons.subnets[e.Tenant]; !ok {
		return
	}
	var nic hardware
	if e.Kind == doorsEventKindEVENT_MISDELIVERED {
		nic = a.nic(fromAddress(e.Local))
	}
	a.learner.take(now, e, nic)
}

// nic is the MAC address of the link that has one of the gateway's provider addresses.
func (a *agent) nic(pa netip.Addr) hardware {
	for _, p := range a.hosts.network.providers {
		if p.Address.Addr() == pa {
			if _, mac, err := a.link(p.Link); err == nil {
				return mac
			}
		}
	}
	return hardware{}
}

func (a *agent) lookup(tenant uint32, ca netip.Addr) (known, bool) {
	k := doorsTenantAddress{Tenant: tenant, Ip: toAddress(ca)}
	v, ok, err := a.records.get(k)
	if err != nil || !ok {
		return known{}, false
	}
	return known{Record: decode(k.Ip, v, a.hosts.pa(v.Host)), local: a.hosts.path(v.Host).local}, true
}

// path is the way to a host.
func (h *hosts) path(index uint32) path {
	if index >= uint32(len(h.entries)) {
		return path{}
	}
	v := h.entries[index].value
	return path{local: fromAddress(v.Local), pa: fromAddress(v.Pa)}
}

func (a *agent) machine(tenant, vsid uint32, mac hardware) (machine, bool) {
	v, ok := a.l2only.have[tenant][doorsVsidMac{Vsid: vsid, Mac: mac}]
	return machine{path: a.hosts.path(v.Host), mac: mac}, ok
}

func (a *agent) machines(tenant, vsid uint32) []machine {
	if a.learners[vsid] == 0 {
		return nil
	}
	var all []machine
	for k, v := range a.l2only.have[tenant] {
		if k.Vsid == vsid && len(all) < letters {
			all = append(all, machine{path: a.hosts.path(v.Host), mac: k.Mac})
		}
	}
	return all
}

func (a *agent) subnet(tenant uint32, ca netip.Addr) (vsid uint32, ok bool) {
	for _, s := range a.lessons.subnets[tenant] {
		if s.Prefix.Contains(ca) {
			return s.VSID, true
		}
	}
	return 0, false
}

func (a *agent) nextHop(tenant uint32, ca netip.Addr) (netip.Addr, bool) {
	var r doorsRoute
	k := doorsRouteKey{Prefixlen: 32 + addressBits, Tenant: tenant, Ip: toAddress(ca)}
	const other = uint32(doorsRouteFlagsROUTE_ON_LINK | doorsRouteFlagsROUTE_HERE)
	err := a.objects.Routes.Lookup(k, &r)
	return fromAddress(r.NextHop), err == nil && r.Flags&other == 0
}

// isOwn tells whether the gateway itself has the customer address.
func (a *agent) isOwn(tenant, vsid uint32, ca netip.Addr) bool {
	_, ok := a.interfaces.have[tenant][doorsVsidAddress{Vsid: vsid, Ip: toAddress(ca)}]
	return ok
}

func (a *agent) ownProvider(pa netip.Addr) bool { return a.hosts.network.own(pa) }

// speaker is the gateway's own address in the virtual subnet. Where it has none it asks with the MAC address of another
// of its interfaces, from an address that teaches nobody anything: unspecified for ARP, link-local for ND.
func (a *agent) speaker(tenant, vsid uint32, ca netip.Addr) (speaker, bool) {
	for k, i := range a.interfaces.have[tenant] {
		own := fromAddress(k.Ip)
		if k.Vsid == vsid && own.Is4() == ca.Is4() {
			return speaker{mac: i.mac(a.vsids.have[tenant][vsid]), ca: own}, true
		}
	}
	for _, p := range a.ports.have[tenant] {
		if p.Vsid == 0 {
			continue
		}
		if ca.Is4() {
			return speaker{mac: p.Mac, ca: netip.IPv4Unspecified()}, true
		}
		return speaker{mac: p.Mac, ca: linkLocal(p.Mac)}, true
	}
	return speaker{}, false
}

// mac is the MAC address that goes with one of the gateway's addresses in a virtual subnet.
func (i doorsInterface) mac(v doorsVsid) hardware {
	if i.Flags&uint32(doorsInterfaceFlagsINTERFACE_ROUTER) != 0 {
		return v.Router
	}
	return v.Mac
}

// linkLocal is the address that a MAC address makes (RFC 4291 appendix A).
func linkLocal(m hardware) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

func (a *agent) write(tenant uint32, r Record) error {
	v, ok := a.vsids.have[tenant][r.VSID]
	if !ok {
		return fmt.Errorf("VSID %d is none of the tenant's", r.VSID)
	}
	if err := a.hosts.makeRoom(); err != nil {
		return err
	}
	e, err := a.encode(r, v)
	if err != nil {
		return err
	}
	if r.Moved {
		e.Vsid |= uint32(doorsRecordFlagsRECORD_MOVED)
	}
	return a.records.put(doorsTenantAddress{Tenant: tenant, Ip: toAddress(r.CA)}, e)
}

func (a *agent) erase(tenant uint32, ca netip.Addr) error {
	return a.records.remove(doorsTenantAddress{Tenant: tenant, Ip: toAddress(ca)})
}

func (a *agent) move(tenant uint32, ca, pa netip.Addr) error {
	k := doorsTenantAddress{Tenant: tenant, Ip: toAddress(ca)}
	v, _, err := a.records.get(k)
	if err := errors.Join(err, a.hosts.makeRoom()); err != nil {
		return err
	}
	host, err := a.hosts.intern(hostKey{pa: pa, bound: a.vsids.have[tenant][v.Vsid>>8].bound()})
	if err != nil {
		return err
	}
	return a.records.move(k, host)
}

func (a *agent) mark(tenant uint32, ca netip.Addr, stale bool) error {
	k := doorsTenantAddress{Tenant: tenant, Ip: toAddress(ca)}
	v, ok, err := a.records.get(k)
	if err != nil || !ok {
		return err
	}
	v.Vsid &^= uint32(doorsRecordFlagsRECORD_STALE)
	if stale {
		v.Vsid |= uint32(doorsRecordFlagsRECORD_STALE)
	}
	return a.records.put(k, v)
}

func (a *agent) refused(tenant uint32) {
	// The programs never count this reason, so that nothing is lost between reading and writing.
	k, perCPU := doorsDropKey{Tenant: tenant, Reason: a.refusal}, make([]doorsCount, ebpf.MustPossibleCPU())
	err := a.objects.Drops.Lookup(k, &perCPU)
	if err == nil || errors.Is(err, ebpf.ErrKeyNotExist) {
		perCPU[0].Packets++
		err = a.objects.Drops.Put(k, perCPU)
	}
	if err != nil && a.lines.Allow() {
		a.Log.Warn("cannot count a message that was refused", "reason", err)
	}
}

func (a *agent) tell(tenant uint32, e Event) {
	e.Tenant, e.RoutingDomain = a.tenants[tenant].name, a.tenants[tenant].routingDomain
	a.told = append(a.told, e)
}

func (a *agent) send(p path, vsid uint32, frame []byte) {
	if p.local.IsValid() && !a.hosts.network.own(p.pa) {
		a.posted = append(a.posted, letter{path: p, vsid: vsid, frame: frame})
	}
}
