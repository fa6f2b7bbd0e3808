package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/google/uuid"
)

// HostProbe is a packet that a host sends to the gateway for one of its machines.
type HostProbe struct {
	Probe
	RoutingDomain uuid.UUID
	// VSID that the host sends it in.
	VSID uint32
	// PA is the host's; that of the lookup record for the machine where it is invalid.
	PA netip.Addr
	// ToRouter addresses it to the router of the external-router mode, not to the gateway's interface.
	ToRouter bool
}

// TraceFromHost passes a host's packet to door 1, which counts nothing, and tells what it would do; sent is how the
// host would have sent it.
func (d *Dataplane) TraceFromHost(p HostProbe) (sent Outer, h Hop, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, err := d.known(p.RoutingDomain)
	if err != nil {
		return sent, h, err
	}
	sent, vsid, err := d.asSent(id, p)
	if err != nil {
		return sent, h, err
	}
	gateway, err := d.gateway()
	if err != nil {
		return sent, h, err
	}
	link, err := d.links.LinkByIndex(int(gateway.Backend))
	if err != nil {
		return sent, h, fmt.Errorf("trace at door 1: find the backend link: %w", err)
	}
	frame, err := sent.frame(link.Attrs().HardwareAddr, p.Probe)
	if err != nil {
		return sent, h, err
	}
	h, out, err := d.trace(d.objects.Door1Wire, gateway.Backend, frame)
	if err != nil {
		return sent, h, err
	}
	var v doorsVsid
	if err := d.objects.Vsids.Lookup(vsid, &v); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return sent, h, fmt.Errorf("trace at door 1: read VSID %d: %w", vsid, err)
	}
	if h.Outcome == Dropped || h.Outcome == Passed {
		h.Probe, h.Tenant = p.Probe, d.tenants[v.Tenant].name
		return sent, h, nil
	}
	if err := h.read(out); err != nil || h.Outcome == ToHost {
		return sent, h, err
	}
	h.Outcome = Entered
	h.Link, err = d.linkName(v.Ifindex)
	return sent, h, err
}

// asSent is what the host puts around a machine's packet, and the virtual subnet that it enters by. d.mu must be held.
func (d *Dataplane) asSent(id uint32, p HostProbe) (o Outer, vsid uint32, err error) {
	o = Outer{PA: p.PA, VSID: p.VSID, From: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	var r doorsRecord
	err = d.objects.Records.Lookup(doorsTenantAddress{Tenant: id, Ip: toAddress(p.From)}, &r)
	switch {
	case err == nil:
		o.From = r.Mac[:]
		if !o.PA.IsValid() {
			o.PA = d.hosts.pa(r.Host)
		}
	case !errors.Is(err, ebpf.ErrKeyNotExist):
		return o, 0, fmt.Errorf("trace at door 1: read the lookup record for %v: %w", p.From, err)
	case !o.PA.IsValid():
		return o, 0, fmt.Errorf("no lookup record says at which host %v is", p.From)
	}
	if r.Vsid&uint32(doorsRecordFlagsRECORD_REWRITE) != 0 {
		for pa, own := range d.standIns.have[id] {
			if own.Ca == toAddress(p.To) {
				o.VSID, o.Local = 0, fromAddress(pa)
				return o, own.Vsid, nil
			}
		}
		return o, 0, fmt.Errorf("%v has the rule rewrite, and no provider address of the gateway's stands for %v", p.From, p.To)
	}
	if o.Local = d.receiver(p.VSID, o.PA); !o.Local.IsValid() {
		return o, 0, fmt.Errorf("the gateway has no provider address that %v could send to in VSID %d", o.PA, p.VSID)
	}
	v, known := d.vsids.have[id][p.VSID]
	if !known {
		// Whose VSID it is decides before any MAC address does.
		for _, v = range d.vsids.have[id] {
			if v.Ifindex != 0 {
				break
			}
		}
	}
	o.To = v.Mac[:]
	if p.ToRouter {
		o.To = v.Router[:]
	}
	return o, p.VSID, nil
}

// receiver is the gateway's provider address that a host sends a virtual subnet's frames to; invalid where there is none.
func (d *Dataplane) receiver(vsid uint32, host netip.Addr) netip.Addr {
	if own, bound := d.hosts.network.bound[vsid]; bound {
		return own
	}
	for _, own := range d.hosts.network.providers {
		if a := own.Address.Addr(); len(own.VSIDs) == 0 && a.Is4() == host.Is4() {
			return a
		}
	}
	return netip.Addr{}
}
