package lab

import (
	"errors"
	"fmt"
	"net/netip"
)

// internetNetwork is a network that the Internet's router joins, as a bridge.
type internetNetwork struct {
	name string
	// router and router6 are the router's own addresses; IPv6 is there once it is asked for.
	router, router6 netip.Prefix
}

var internetNetworks = []internetNetwork{
	{"net131", netip.MustParsePrefix("131.107.10.1/24"), netip.MustParsePrefix("2001:db8:131::1/64")},
	{"net59", netip.MustParsePrefix("59.10.10.1/24"), netip.MustParsePrefix("2001:db8:59::1/64")},
	{"net60", netip.MustParsePrefix("60.10.10.1/24"), netip.MustParsePrefix("2001:db8:60::1/64")},
	{"net65", netip.MustParsePrefix("65.10.10.1/24"), netip.MustParsePrefix("2001:db8:65::1/64")},
	{"net66", netip.MustParsePrefix("66.10.10.1/24"), netip.MustParsePrefix("2001:db8:66::1/64")},
}

// buildInternet makes the router, the machines of nobody in particular, and the gateway's If2.
func (l *Lab) buildInternet() error {
	router, err := l.addNode("internet")
	if err != nil {
		return err
	}
	errs := []error{router.sysctl("ipv4/ip_forward=1", "ipv4/icmp_ratelimit=0")}
	for _, n := range internetNetworks {
		errs = append(errs, router.bridge(n.name, plainMTU, n.router))
	}
	errs = append(errs, l.attach(l.Gateway(), "If2", router, "net131", "gw", plainMTU))
	_, err = l.addHost("web", router, "net65", "web", netip.PrefixFrom(WebAddress, 24))
	errs = append(errs, err)
	_, err = l.addHost("client", router, "net66", "client", netip.PrefixFrom(ClientAddress, 24))
	return errors.Join(append(errs, err)...)
}

// network is the bridge of the Internet that an address belongs to, and the length of its subnet.
func (l *Lab) network(address netip.Addr) (name string, bits int, err error) {
	for _, n := range internetNetworks {
		if n.router.Masked().Contains(address) {
			return n.name, n.router.Bits(), nil
		}
		if n.router6.Masked().Contains(address) {
			return n.name, n.router6.Bits(), l.internet6()
		}
	}
	return "", 0, fmt.Errorf("%v is in no network of the lab's Internet", address)
}

// internet6 has the Internet's router speak IPv6, which it does not before anybody has such an address.
func (l *Lab) internet6() error {
	router := l.Node("internet")
	errs := []error{router.sysctl("ipv6/conf/all/forwarding=1")}
	for _, n := range internetNetworks {
		errs = append(errs, router.enableIPv6(n.name), router.configure(n.name, n.router6))
	}
	return errors.Join(errs...)
}
