package ratelimit

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// network is a compartment with a link to a site:
//
//	compartment                  site
//	10.0.254.2 IfCe1 ---------- toIfCe1 10.1.0.1
type network struct {
	compartment, site *netns.Namespace
	h                 *netlink.Handle // of the compartment
}

const mtu = 1400

var (
	inside  = netip.MustParseAddr("10.0.254.2")
	outside = netip.MustParseAddr("10.1.0.1")
)

// newNetwork makes the links and leaves the compartment's down.
func newNetwork(t testing.TB) *network {
	t.Helper()
	n := &network{compartment: quiet(t), site: quiet(t)}
	n.h = handleOf(t, n.compartment)
	n.addLink(t, "IfCe1", inside, outside)
	return n
}

// quiet is a namespace without the links' own IPv6 chatter, which would be counted among the packets.
func quiet(t testing.TB) *netns.Namespace {
	t.Helper()
	ns := testenv.Namespace(t)
	must(t, ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	}))
	return ns
}

func (n *network) addLink(t testing.TB, name string, own, peer netip.Addr) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	must(t, n.h.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: "to" + name, PeerNamespace: netlink.NsFd(n.site.Fd()), PeerMTU: mtu,
	}))
	site := handleOf(t, n.site)
	there := linkOf(t, site, "to"+name)
	address(t, n.h, linkOf(t, n.h, name), own, peer)
	address(t, site, there, peer, own)
	must(t, site.LinkSetUp(there))
}

func (n *network) up(t testing.TB) {
	t.Helper()
	must(t, n.h.LinkSetUp(linkOf(t, n.h, "IfCe1")))
}

func (n *network) set(t testing.TB, limits ...Limit) {
	t.Helper()
	must(t, Set(t.Context(), n.compartment, limits))
}

// stat is how the limit of IfCe1 in the direction fares; it must stand.
func (n *network) stat(t testing.TB, d Direction) Stat {
	t.Helper()
	all, err := Stats(n.compartment)
	must(t, err)
	for _, s := range all {
		if s.Link == "IfCe1" && s.Direction == d {
			return s
		}
	}
	t.Fatalf("IfCe1 has no limit for %s: %+v", d, all)
	return Stat{}
}

// flow is a UDP socket that sends over IfCe1 in the direction, and the one that it sends to.
func (n *network) flow(t testing.TB, d Direction) (from, to *net.UDPConn) {
	t.Helper()
	return n.flowBetween(t, d, inside, outside)
}

func (n *network) flowBetween(t testing.TB, d Direction, own, peer netip.Addr) (from, to *net.UDPConn) {
	t.Helper()
	sender, receiver, target := n.compartment, n.site, peer
	if d == Rx {
		sender, receiver, target = n.site, n.compartment, own
	}
	must(t, receiver.Do(func() (err error) {
		to, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(target, 0)))
		return err
	}))
	must(t, sender.Do(func() (err error) {
		from, err = net.DialUDP("udp4", nil, to.LocalAddr().(*net.UDPAddr))
		return err
	}))
	t.Cleanup(func() { _, _ = from.Close(), to.Close() })
	// What waits in a limit's queue counts as its sender's.
	force(t, from, unix.SO_SNDBUFFORCE)
	force(t, to, unix.SO_RCVBUFFORCE)
	return from, to
}

func force(t testing.TB, c *net.UDPConn, buffer int) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { must(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, buffer, 4<<20)) }))
}

// payload fills a packet of 1,000 octets, Ethernet header included.
var payload = make([]byte, 1000-28-14)

const frame = 1000

// receive takes in as many packets.
func receive(t testing.TB, to *net.UDPConn, packets int) {
	t.Helper()
	must(t, to.SetReadDeadline(time.Now().Add(20*time.Second)))
	buffer := make([]byte, 2000)
	for i := range packets {
		if _, err := to.Read(buffer); err != nil {
			t.Fatalf("packet %d of %d: %v", i+1, packets, err)
		}
	}
}

func send(t testing.TB, from *net.UDPConn, packets int) {
	t.Helper()
	for range packets {
		// A full queue of the link is told to a sender in its own namespace.
		if _, err := from.Write(payload); err != nil && !isNoBuffers(err) {
			t.Fatal(err)
		}
	}
}

func handleOf(t testing.TB, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func linkOf(t testing.TB, h *netlink.Handle, name string) netlink.Link {
	t.Helper()
	l, err := h.LinkByName(name)
	must(t, err)
	return l
}

// address gives a link an address whose peer is the other.
func address(t testing.TB, h *netlink.Handle, l netlink.Link, own, peer netip.Addr) {
	t.Helper()
	host := func(a netip.Addr) *net.IPNet { return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)} }
	must(t, h.AddrAdd(l, &netlink.Addr{IPNet: host(own), Peer: host(peer)}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
