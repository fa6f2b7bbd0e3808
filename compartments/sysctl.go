package compartments

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bulkhead/internal/netns"
)

// sysctl is one setting below /proc/sys/net. A path with a * stands for every entry there.
type sysctl struct {
	path, value string
}

// compartmentSysctls are the settings of a compartment. A new namespace copies some of the host's, so each that matters
// is set, for all, default and every interface: the kernel combines the three differently from setting to setting.
// Forwarding comes first, because changing it changes others.
func compartmentSysctls() []sysctl {
	return append([]sysctl{
		{"ipv4/ip_forward", "1"},
		{"ipv6/conf/all/forwarding", "1"},
		// Equal routes share by flow, ports included; by address alone two hosts would always use one tunnel.
		{"ipv4/fib_multipath_hash_policy", "1"},
		{"ipv6/fib_multipath_hash_policy", "1"},
		// An ICMP error carries the source of the route back: of several addresses of a link, as an external router has
		// them, the one in the subnet of whoever is told.
		{"ipv4/icmp_errors_use_inbound_ifaddr", "0"},
		// Looking for a socket before the route pays for servers; nearly everything here is forwarded.
		{"ipv4/ip_early_demux", "0"},
	}, linkSysctls("*")...)
}

// linkSysctls are the settings of an interface in a compartment. One that is made or moved there later takes those of
// the entry named default.
func linkSysctls(name string) []sysctl {
	v4, v6 := "ipv4/conf/"+name+"/", "ipv6/conf/"+name+"/"
	return []sysctl{
		{v4 + "forwarding", "1"},
		// Tunnels make paths asymmetric; the source filter does what this would do (law 7).
		{v4 + "rp_filter", "0"},
		{v4 + "accept_redirects", "0"},
		{v4 + "secure_redirects", "0"},
		{v4 + "send_redirects", "0"},
		{v4 + "accept_source_route", "0"},
		{v4 + "route_localnet", "0"},
		{v4 + "accept_local", "0"},
		{v4 + "proxy_arp", "0"},
		// Answer for an address only where it is, and ask with an address of the link.
		{v4 + "arp_ignore", "1"},
		{v4 + "arp_announce", "2"},
		// A second address of a subnet must survive the removal of the first.
		{v4 + "promote_secondaries", "1"},
		{v6 + "forwarding", "1"},
		{v6 + "disable_ipv6", "0"},
		{v6 + "accept_ra", "0"},
		{v6 + "autoconf", "0"},
		{v6 + "accept_redirects", "0"},
		{v6 + "accept_source_route", "-1"},
		// Off, as the kernel itself writes it for links that resolve nothing.
		{v6 + "accept_dad", "-1"},
		{v6 + "dad_transmits", "0"},
		{v6 + "router_solicitations", "0"},
		{v6 + "addr_gen_mode", addrGenNone},
		{v6 + "keep_addr_on_down", "1"},
	}
}

// addrGenNone keeps the kernel from giving a link an address of its own (IN6_ADDR_GEN_MODE_NONE).
const addrGenNone = "1"

// peerSysctls are the settings of a pair's end at a door. The program there takes every packet; IPv6 is off, so that
// the kernel itself says nothing on the link.
func peerSysctls(name string) []sysctl {
	return []sysctl{
		{"ipv6/conf/" + name + "/addr_gen_mode", addrGenNone},
		{"ipv6/conf/" + name + "/disable_ipv6", "1"},
		{"ipv4/conf/" + name + "/arp_ignore", "8"},
	}
}

// defaultSysctls are the settings of the Default compartment: it forwards nothing (law 3).
func defaultSysctls() []sysctl {
	return []sysctl{
		{"ipv4/ip_forward", "0"},
		{"ipv6/conf/all/forwarding", "0"},
	}
}

// nicSysctls are the settings of a NIC that the gateway uses: no redirects either way, answers to ARP only for
// addresses that are on it, and addresses that survive each other. One with declared IPv6 addresses takes no others,
// and no routes, from whoever advertises them there.
func nicSysctls(n NIC) []sysctl {
	v4, v6 := "ipv4/conf/"+n.Name+"/", "ipv6/conf/"+n.Name+"/"
	settings := []sysctl{
		{v4 + "accept_redirects", "0"},
		{v4 + "send_redirects", "0"},
		{v4 + "accept_source_route", "0"},
		{v4 + "arp_ignore", "1"},
		{v4 + "arp_announce", "2"},
		{v4 + "promote_secondaries", "1"},
		{v6 + "accept_redirects", "0"},
	}
	if slices.ContainsFunc(n.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		settings = append(settings,
			sysctl{v6 + "disable_ipv6", "0"}, sysctl{v6 + "accept_ra", "0"}, sysctl{v6 + "autoconf", "0"})
	}
	return settings
}

// setSysctls writes the settings of a namespace that differ. /proc/sys/net shows the namespace of the thread that
// looks. A kernel booted without IPv6 has no settings for it and needs none.
func setSysctls(ns *netns.Namespace, want []sysctl) error {
	return ns.Do(func() error {
		const root = "/proc/sys/net"
		_, err := os.Stat(filepath.Join(root, "ipv6"))
		hasIPv6 := err == nil
		var errs []error
		for _, s := range want {
			if !hasIPv6 && strings.HasPrefix(s.path, "ipv6/") {
				continue
			}
			errs = append(errs, s.set(root))
		}
		return errors.Join(errs...)
	})
}

// set writes the setting wherever its path leads to and another value stands.
func (s sysctl) set(root string) error {
	before, after, every := strings.Cut(s.path, "*")
	if !every {
		return writeIfDifferent(filepath.Join(root, s.path), s.value)
	}
	entries, err := os.ReadDir(filepath.Join(root, before))
	if err != nil {
		return fmt.Errorf("list settings: %w", err)
	}
	var errs []error
	for _, e := range entries {
		err := writeIfDifferent(filepath.Join(root, before, e.Name(), after), s.value)
		if errors.Is(err, os.ErrNotExist) {
			continue // The interface left meanwhile.
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func writeIfDifferent(path, value string) error {
	have, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read setting: %w", err)
	}
	if strings.TrimSpace(string(have)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("write setting: %w", err)
	}
	return nil
}
