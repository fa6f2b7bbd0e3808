package ratelimit

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// families are the addresses of the network's link.
var families = map[string][2]netip.Addr{
	"IPv4": {inside, outside},
	"IPv6": {netip.MustParseAddr("fd00:1::2"), netip.MustParseAddr("fd00:2::1")},
}

const cs6, cs7 = 0xc0, 0xe0

// addIPv6 gives the link its IPv6 addresses. Both ends know each other, so that nothing else is said.
func (n *network) addIPv6(t testing.TB) {
	t.Helper()
	site := handleOf(t, n.site)
	own, peer := families["IPv6"][0], families["IPv6"][1]
	for _, end := range []struct {
		ns        *netns.Namespace
		h         *netlink.Handle
		link      string
		own, peer netip.Addr
	}{{n.compartment, n.h, "IfCe1", own, peer}, {n.site, site, "toIfCe1", peer, own}} {
		l := linkOf(t, end.h, end.link)
		must(t, end.h.LinkSetIP6AddrGenMode(l, noAddresses))
		must(t, end.ns.Do(func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/"+end.link+"/disable_ipv6", []byte("0"), 0)
		}))
		host := func(a netip.Addr) *net.IPNet { return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(128, 128)} }
		must(t, end.h.AddrAdd(l, &netlink.Addr{IPNet: host(end.own), Peer: host(end.peer), Flags: unix.IFA_F_NODAD}))
	}
	here, there := linkOf(t, n.h, "IfCe1").Attrs(), linkOf(t, site, "toIfCe1").Attrs()
	neighbour := func(h *netlink.Handle, at, of *netlink.LinkAttrs, a netip.Addr) {
		must(t, h.NeighAdd(&netlink.Neigh{
			LinkIndex: at.Index, IP: a.AsSlice(), HardwareAddr: of.HardwareAddr, State: netlink.NUD_PERMANENT,
		}))
	}
	neighbour(n.h, here, there, peer)
	neighbour(site, there, here, own)
}

// sender sends UDP in a class to a port of the other end, from an address of its own.
func (n *network) sender(t testing.TB, d Direction, family string, class, port int) *net.UDPConn {
	t.Helper()
	ns, from, to := n.compartment, families[family][0], families[family][1]
	if d == Rx {
		ns, from, to = n.site, to, from
	}
	var c *net.UDPConn
	testenv.Eventually(t, "the kernel has seen that the link is up", func() bool {
		return ns.Do(func() (err error) {
			c, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
				net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, uint16(port))))
			return err
		}) == nil
	})
	t.Cleanup(func() { _ = c.Close() })
	force(t, c, unix.SO_SNDBUFFORCE)
	mark(t, c, family, class)
	return c
}

func mark(t testing.TB, c *net.UDPConn, family string, class int) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		if family == "IPv6" {
			must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, class))
			return
		}
		must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, class))
	}))
}

// receiver gets the UDP packets to all ports in the order of their arrival. It says nothing back.
func (n *network) receiver(t testing.TB, d Direction, family string) *net.IPConn {
	t.Helper()
	ns, at := n.site, families[family][1]
	if d == Rx {
		ns, at = n.compartment, families[family][0]
	}
	var c *net.IPConn
	must(t, ns.Do(func() (err error) {
		c, err = net.ListenIP("ip:udp", &net.IPAddr{IP: at.AsSlice()})
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetReadBuffer(4<<20))
	return c
}

// arrivals are the first octets of what the next so many packets carry.
func arrivals(t testing.TB, c *net.IPConn, packets int) string {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	var all []byte
	buffer := make([]byte, 2000)
	for len(all) < packets {
		n, _, err := c.ReadFromIP(buffer)
		if err != nil {
			t.Fatalf("after %q: %v", all, err)
		}
		const header = 8
		if n > header {
			all = append(all, buffer[header])
		}
	}
	return string(all)
}

// say sends a packet of 1,000 octets that begins with a letter.
func say(t testing.TB, c *net.UDPConn, letter byte) {
	t.Helper()
	data := slices.Clone(payload)
	data[0] = letter
	for {
		_, err := c.Write(data)
		if isRefused(err) {
			continue // An ICMP message about an earlier packet: nobody listens but for what arrives.
		}
		if err != nil && !isNoBuffers(err) {
			t.Fatal(err)
		}
		return
	}
}
