package compartments

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
)

// State is what a compartment holds, as the kernel has it.
type State struct {
	// Links in the order of their indexes.
	Links []LinkState `json:"links"`
	// Routes of the main table, by prefix and metric.
	Routes []RouteState `json:"routes"`
}

// LinkState is one link.
type LinkState struct {
	// Name of the link in the compartment.
	Name string `json:"name"`
	// Kind as the kernel names it: netkit, veth, xfrm, tun and so on; device for loopback and hardware.
	Kind string `json:"kind"`
	// Index of the link, unique in the compartment.
	Index int `json:"index"`
	// Up tells whether the link is up.
	Up bool `json:"up"`
	// MTU in octets.
	MTU int `json:"mtu"`
	// MAC address, empty where the link has none.
	MAC string `json:"mac,omitempty"`
	// Addresses with the prefixes of their subnets.
	Addresses []netip.Prefix `json:"addresses"`
	// Peer is the name of a pair's other end in the Default compartment.
	Peer string `json:"peer,omitempty"`
	// IfID of an xfrm link.
	IfID uint32 `json:"ifId,omitempty"`
	// Alias that the link was given for operators.
	Alias string `json:"alias,omitempty"`
	// RxPackets arrived on the link, RxBytes in size; TxPackets left by it, TxBytes in size.
	RxPackets uint64 `json:"rxPackets"`
	RxBytes   uint64 `json:"rxBytes"`
	TxPackets uint64 `json:"txPackets"`
	TxBytes   uint64 `json:"txBytes"`
}

// RouteState is one route of the main table.
type RouteState struct {
	// Prefix that the route is for.
	Prefix netip.Prefix `json:"prefix"`
	// Metric: the lowest wins.
	Metric uint32 `json:"metric"`
	// Protocol is who made the route: bulkhead, kernel, bgp, static, or a number.
	Protocol string `json:"protocol"`
	// Unreachable tells that the route refuses packets.
	Unreachable bool `json:"unreachable,omitempty"`
	// Source is the address that the compartment's own packets carry.
	Source netip.Addr `json:"source,omitzero"`
	// NextHops are the ways; several share the traffic by flow (ECMP).
	NextHops []NextHop `json:"nextHops,omitempty"`
}

// NextHop is one way of a route.
type NextHop struct {
	// Link that packets leave by.
	Link string `json:"link"`
	// Via is the gateway; none where the destination is on the link.
	Via netip.Addr `json:"via,omitzero"`
}

// State reads what a compartment holds.
func (m *Manager) State(ctx context.Context, ns *netns.Namespace) (State, error) {
	if err := ctx.Err(); err != nil {
		return State{}, err
	}
	h, err := ns.Netlink()
	if err != nil {
		return State{}, err
	}
	defer h.Close()
	links, err := dump(h.LinkList)
	if err != nil {
		return State{}, fmt.Errorf("list links: %w", err)
	}
	addrs, err := listAddresses(ns)
	if err != nil {
		return State{}, err
	}
	peers, err := m.peerNames(ns)
	if err != nil {
		return State{}, err
	}
	var s State
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		s.Links = append(s.Links, linkState(l, addrs, peers))
	}
	slices.SortFunc(s.Links, func(a, b LinkState) int { return a.Index - b.Index })
	s.Routes, err = routeStates(h, names)
	return s, err
}

// peerNames maps the indexes that links in the Default compartment have to their names, for those whose other end is in
// the namespace.
func (m *Manager) peerNames(ns *netns.Namespace) (map[int]string, error) {
	def, err := m.def.Netlink()
	if err != nil {
		return nil, err
	}
	defer def.Close()
	id, err := def.GetNetNsIdByFd(ns.Fd())
	if err != nil {
		return nil, fmt.Errorf("find the namespace of peers: %w", err)
	}
	links, err := dump(def.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links of the Default compartment: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		if id >= 0 && isPair(l) && l.Attrs().NetNsID == id {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	return names, nil
}

func linkState(l netlink.Link, addrs addresses, peers map[int]string) LinkState {
	a := l.Attrs()
	s := LinkState{
		Name: a.Name, Kind: l.Type(), Index: a.Index, Up: isUp(l), MTU: a.MTU, MAC: a.HardwareAddr.String(),
		Alias: a.Alias, Addresses: []netip.Prefix{},
	}
	for _, one := range addrs {
		if one.index == a.Index {
			s.Addresses = append(s.Addresses, one.prefix)
		}
	}
	if x, ok := l.(*netlink.Xfrmi); ok {
		s.IfID = x.Ifid
	}
	if isPair(l) {
		s.Peer = peers[a.ParentIndex]
	}
	if st := a.Statistics; st != nil {
		s.RxPackets, s.RxBytes, s.TxPackets, s.TxBytes = st.RxPackets, st.RxBytes, st.TxPackets, st.TxBytes
	}
	return s
}

func routeStates(h *netlink.Handle, names map[int]string) ([]RouteState, error) {
	found, err := everyRoute(h)
	if err != nil {
		return nil, err
	}
	states := make([]RouteState, 0, len(found))
	for _, f := range found {
		r := foundRoute(f)
		s := RouteState{
			Prefix: r.prefix, Metric: r.metric, Protocol: protocolName(f.Protocol), Unreachable: r.unreachable,
			Source: r.source,
		}
		if f.Type == unix.RTN_BLACKHOLE || f.Type == unix.RTN_PROHIBIT {
			s.Unreachable, r.hops = true, nil // as BGP's are, whose next hop is lost
		}
		for _, hop := range r.hops {
			s.NextHops = append(s.NextHops, NextHop{Link: names[hop.link], Via: hop.via})
		}
		states = append(states, s)
	}
	slices.SortStableFunc(states, func(a, b RouteState) int {
		return strings.Compare(sortKey(a), sortKey(b))
	})
	return states, nil
}

// sortKey puts IPv4 before IPv6, then orders by address, length and metric.
func sortKey(r RouteState) string {
	a := r.Prefix.Addr()
	return fmt.Sprintf("%03d %x %03d %010d", a.BitLen(), a.AsSlice(), r.Prefix.Bits(), r.Metric)
}

func protocolName(p netlink.RouteProtocol) string {
	switch p {
	case Protocol:
		return "bulkhead"
	case unix.RTPROT_KERNEL:
		return "kernel"
	case unix.RTPROT_STATIC:
		return "static"
	case unix.RTPROT_BGP:
		return "bgp"
	}
	return strconv.Itoa(int(p))
}
