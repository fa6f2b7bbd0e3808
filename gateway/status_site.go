package gateway

import (
	"context"
	"strconv"
	"strings"

	"bulkhead/filters"
	"bulkhead/internal/netns"
	"bulkhead/ratelimit"
	"bulkhead/vpn"
)

// disabledState is shown of a tunnel that neither end may dial.
const disabledState = "disabled"

// Tunnels lists the declared site-to-site tunnels with their security associations and limits. While charon does not
// answer, their state is unknown.
func (g *Gateway) Tunnels(ctx context.Context) ([]TunnelRow, error) {
	limits, err := g.limits()
	if err != nil {
		return nil, err
	}
	offload, err := g.offload()
	if err != nil {
		return nil, err
	}
	tunnels, away := g.vpn.Tunnels(ctx)
	rows := []TunnelRow{}
	for _, t := range tunnels {
		row := TunnelRow{
			Tenant: t.Tenant, Interface: t.Interface, State: string(t.State), Local: t.Local, Peer: t.Peer,
			LocalID: t.LocalID, PeerID: t.PeerID, SPIIn: t.SPIIn, SPIOut: t.SPIOut, IKE: t.IKE, ESP: t.ESP,
			Encapsulated: t.Encapsulated, PacketsIn: t.PacketsIn, PacketsOut: t.PacketsOut,
			BytesIn: t.BytesIn, BytesOut: t.BytesOut, RekeyIn: t.RekeyInSeconds, LastError: t.LastError,
		}
		if !t.Since.IsZero() {
			row.Since = &t.Since
		}
		if !t.LastErrorAt.IsZero() {
			row.LastErrorAt = &t.LastErrorAt
		}
		switch {
		case away != nil:
			row.State, row.LastError, row.Since = "unknown", away.Error(), nil
		case t.Disabled && t.State != vpn.Connected:
			row.State = disabledState
		}
		row.Offload = offload(t)
		row.Limit, row.LimitDrops = limitOf(limits, t.Tenant, t.Interface)
		rows = append(rows, row)
	}
	return rows, nil
}

// offload tells of a tunnel whether the external NIC does its ESP, where that was asked for.
func (g *Gateway) offload() (func(vpn.Tunnel) string, error) {
	none := func(vpn.Tunnel) string { return "" }
	asked := map[[2]string]bool{}
	for _, tenant := range g.tenants() {
		for _, i := range tenant.VPN {
			if i.HardwareOffload {
				asked[[2]string{tenant.Name, i.Name}] = true
			}
		}
	}
	plan, err := g.inForce()
	if err != nil || len(asked) == 0 {
		return none, nil //nolint:nilerr // nothing is in force, so nobody asked
	}
	nic := plan.policy.config.Gateway.External.Interface
	able, err := g.compartments.OffloadsESP(nic)
	if err != nil {
		return none, err
	}
	return func(t vpn.Tunnel) string {
		switch {
		case !asked[[2]string{t.Tenant, t.Interface}]:
			return ""
		case !able:
			return "off: " + nic + " does no ESP, or has esp-hw-offload switched off"
		case t.ESP != "" && !strings.HasPrefix(t.ESP, offloaded):
			return "off: NICs do " + offloaded + " alone, and this tunnel has " + t.ESP
		}
		return "NIC"
	}, nil
}

// offloaded is the cipher of ESP that NICs do, as charon calls it.
const offloaded = "AES_GCM_16-128"

// limitOf puts an interface's limits in a word, and adds up what they dropped.
func limitOf(limits []LimitRow, tenant, iface string) (limit string, drops uint64) {
	out, in := "-", "-"
	for _, l := range limits {
		if l.Tenant != tenant || l.Interface != iface {
			continue
		}
		drops += l.Drops
		if l.Direction == "out" {
			out = strconv.FormatUint(l.Kbps, 10)
		} else {
			in = strconv.FormatUint(l.Kbps, 10)
		}
	}
	return out + "/" + in, drops
}

// Limits lists the rate limits of site-to-site interfaces as the kernel has them.
func (g *Gateway) Limits(context.Context) ([]LimitRow, error) { return g.limits() }

func (g *Gateway) limits() ([]LimitRow, error) {
	rows := []LimitRow{}
	for _, tenant := range g.tenants() {
		err := g.inCompartment(tenant.Name, func(ns *netns.Namespace) error {
			stats, err := ratelimit.Stats(ns)
			for _, s := range stats {
				direction := map[ratelimit.Direction]string{ratelimit.Tx: "out", ratelimit.Rx: "in"}[s.Direction]
				rows = append(rows, LimitRow{
					Tenant: tenant.Name, Interface: s.Link, Direction: direction, Kbps: s.Kbps,
					Packets: s.Packets, Bytes: s.Bytes, Drops: s.Drops, BacklogBytes: s.BacklogBytes,
				})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Filters lists the rules of static filters with what each has counted.
func (g *Gateway) Filters(context.Context) ([]FilterRow, error) {
	rows := []FilterRow{}
	for _, tenant := range g.tenants() {
		err := g.inCompartment(tenant.Name, func(ns *netns.Namespace) error {
			hits, err := filters.Hits(ns)
			for _, h := range hits {
				rows = append(rows, FilterRow{
					Tenant: tenant.Name, Interface: h.Link, Direction: string(direction(tenant.tenant, h.Link, h.Arriving)), Rule: h.Rule,
					Does: map[bool]string{true: "pass", false: "drop"}[h.Pass], Packets: h.Packets, Bytes: h.Bytes,
				})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}
