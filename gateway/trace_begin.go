package gateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/compartments"
	"bulkhead/dataplane"
	"bulkhead/vpn"
)

// begin lets the packet in where one with its source comes in.
func (w *walk) begin(t *TenantPlan, r TraceRequest, p dataplane.Probe) error {
	w.tenant = t.Name
	_, inside := t.subnet(p.From)
	site := cmp.Or(r.Interface, t.site(p.From))
	if site == "" && !inside {
		var err error
		if site, err = w.learnedSite(t, p.From); err != nil {
			return err
		}
	}
	switch {
	case r.VSID == 0 && !r.ProviderAddress.IsValid() && r.Interface == "" && t.has(p.From):
		return w.compartment(t, "", p)
	case r.Interface == externalLink:
		return w.fromInternet(p)
	case r.Interface == "" && inside || r.VSID != 0 || r.ProviderAddress.IsValid():
		return w.fromHost(t, r, p)
	case site != "":
		return w.fromSite(t, site, p)
	default:
		return w.fromInternet(p)
	}
}

// has tells whether the compartment itself has the address.
func (t *TenantPlan) has(a netip.Addr) bool {
	return slices.ContainsFunc(t.Compartment.Links, func(l compartments.Link) bool {
		return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
	})
}

// subnet is the virtual subnet that the address lies in.
func (t *TenantPlan) subnet(a netip.Addr) (dataplane.Subnet, bool) {
	for _, s := range t.Doors.Subnets {
		if s.Prefix.Contains(a) {
			return s, true
		}
	}
	return dataplane.Subnet{}, false
}

// site is the site-to-site interface that the address is behind; empty where it is behind none.
func (t *TenantPlan) site(a netip.Addr) (name string) {
	longest := -1
	for _, l := range t.Compartment.Links {
		for _, p := range t.Sites[l.Name] {
			if p.Contains(a) && p.Bits() > longest {
				name, longest = l.Name, p.Bits()
			}
		}
	}
	return name
}

// learnedSite is the site-to-site interface that the address is behind by what BGP learned; empty where it is behind none.
func (w *walk) learnedSite(t *TenantPlan, a netip.Addr) (string, error) {
	if t.BGP == nil {
		return "", nil
	}
	ns, err := w.g.compartments.Open(t.Name)
	if err != nil {
		return "", err
	}
	defer ns.Close()
	way, err := w.g.compartments.Lookup(ns, compartments.Packet{To: a})
	if err != nil || !t.isTunnel(way.Link) {
		return "", err
	}
	return way.Link, nil
}

// isTunnel tells whether a link is a site-to-site interface.
func (t *TenantPlan) isTunnel(link string) bool {
	return slices.ContainsFunc(t.Compartment.Links, func(l compartments.Link) bool {
		return l.Name == link && l.Kind == compartments.XFRM
	})
}

// fromHost sends the packet to door 1 as the host of its machine would.
func (w *walk) fromHost(t *TenantPlan, r TraceRequest, p dataplane.Probe) error {
	h := dataplane.HostProbe{
		Probe: p, RoutingDomain: t.Doors.RoutingDomain, VSID: r.VSID, PA: r.ProviderAddress.Unmap(),
	}
	from, to := "", "the gateway's interface"
	home, inside := t.subnet(p.From)
	target, known := t.subnet(p.To)
	switch {
	case len(t.Doors.Interfaces) == 0:
		return fmt.Errorf("no internal interface is declared that %v could be sent to", p.From)
	case t.Doors.Router != nil && inside && target != home:
		h.ToRouter, to = true, "the router"
		h.VSID = cmp.Or(h.VSID, home.VSID)
	default:
		h.VSID = cmp.Or(h.VSID, t.entrance(home.VSID))
		if known && inside && !t.has(p.To) {
			from = "; hosts send this to each other, but were it sent to the gateway:"
		}
	}
	sent, hop, err := w.g.doors.TraceFromHost(h)
	if err != nil {
		return fmt.Errorf("%w; --provider-address and --vsid say how a host sends a packet", err)
	}
	if sent.VSID == 0 {
		w.step("host", p, "sends it rewritten to %v > %v", sent.PA, sent.Local)
		return w.hop("door1", p, hop)
	}
	w.step("host", p, "%v sends it to %v in VSID %d, to the MAC address of %s (%v)%s", sent.PA, sent.Local, sent.VSID, to,
		sent.To, from)
	return w.hop("door1", p, hop)
}

// entrance is the VSID of the interface that hosts send a subnet's packets to: the subnet's own, or else the first.
func (t *TenantPlan) entrance(home uint32) uint32 {
	for _, i := range t.Doors.Interfaces {
		if i.VSID == home {
			return home
		}
	}
	return t.Doors.Interfaces[0].VSID
}

// fromSite lets the packet in by a tunnel.
func (w *walk) fromSite(t *TenantPlan, site string, p dataplane.Probe) error {
	if !t.isTunnel(site) {
		return fmt.Errorf("there is no site-to-site interface %s", site)
	}
	tunnel, said := w.tunnel(t, site)
	text := "comes in by the tunnel, which is " + said
	if tunnel.State != vpn.Connected {
		text += "; nothing arrives before it is connected, but then:"
	}
	w.step("tunnel "+site, p, "%s", text)
	return w.compartment(t, site, p)
}

// tunnel is a site's tunnel, and its state in words.
func (w *walk) tunnel(t *TenantPlan, site string) (vpn.Tunnel, string) {
	tunnels, away := w.g.vpn.Tunnels(w.ctx)
	i := slices.IndexFunc(tunnels, func(u vpn.Tunnel) bool { return u.Tenant == t.Name && u.Interface == site })
	switch {
	case away != nil:
		return vpn.Tunnel{}, fmt.Sprintf("in a state that is unknown (%v)", away)
	case i < 0:
		return vpn.Tunnel{}, "declared in a way that is not carried out yet"
	}
	u := tunnels[i]
	said := fmt.Sprintf("%s with %s", u.State, u.Peer)
	if u.State != vpn.Connected && u.LastError != "" {
		said += ": " + u.LastError
	}
	return u, said
}

// fromInternet lets the packet in at door 2.
func (w *walk) fromInternet(p dataplane.Probe) error {
	hop, err := w.g.doors.TraceFromInternet(p)
	if err != nil {
		return err
	}
	w.tenant = ""
	w.step("Internet", p, "arrives at the external link")
	return w.hop("door2", p, hop)
}
