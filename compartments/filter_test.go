package compartments_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/compartments"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

const patience = 3 * time.Second

// crossing is a compartment between an inside host (10.0.0.10) and an outside one (10.1.0.5), which sit at the other
// ends of its veth pairs. The outside link is the narrower one.
type crossing struct {
	gateway
	compartment, inside, outside *netns.Namespace
}

func newCrossing(t *testing.T) crossing {
	t.Helper()
	g := newGateway(t)
	c := crossing{
		gateway: g, compartment: g.ensure(t, "Contoso"), inside: testenv.Namespace(t), outside: testenv.Namespace(t),
	}
	// A netkit pair passes nothing without a door.
	standing(t, g, c.compartment, "IfCi1", "bhi6001")
	standing(t, g, c.compartment, "IfCe1", "bhi6002")
	linkLocal := prefix("fe80::1/64") // Neighbour discovery for others' packets, which a door makes needless, takes one.
	g.set(t, c.compartment, compartments.Config{
		Links: []compartments.Link{
			{
				Name: "IfCi1", Kind: compartments.Pair, Peer: "bhi6001", MTU: 1500,
				Addresses: []netip.Prefix{prefix("10.0.0.1/24"), prefix("fd00::1/64"), linkLocal},
			},
			{
				Name: "IfCe1", Kind: compartments.Pair, Peer: "bhi6002", MTU: 1400, Outside: true,
				Addresses: []netip.Prefix{prefix("10.1.0.1/24"), prefix("fd00:1::1/64"), linkLocal},
			},
		},
		VirtualPrefixes: []netip.Prefix{prefix("10.0.0.0/24")},
	})
	c.move(t, "bhi6001", c.inside, []string{"10.0.0.1", "fd00::1"}, "10.0.0.10/24", "fd00::10/64")
	c.move(t, "bhi6002", c.outside, []string{"10.1.0.1", "fd00:1::1"},
		"10.1.0.5/24", "10.0.0.77/32", "10.1.0.99/32", "fd00:1::5/64")
	return c
}

// move takes the other end of a pair into a host, with the host's addresses and default routes.
func (c crossing) move(t *testing.T, end string, host *netns.Namespace, routers []string, addresses ...string) {
	t.Helper()
	def, h := handle(t, c.def), handle(t, host)
	link, err := def.LinkByName(end)
	must(t, err)
	must(t, def.LinkSetNsFd(link, host.Fd()))
	link, err = h.LinkByName(end)
	must(t, err)
	must(t, h.LinkSetMTU(link, 1500))
	must(t, h.LinkSetUp(link))
	for _, s := range addresses {
		a, err := netlink.ParseAddr(s)
		must(t, err)
		a.Flags = unix.IFA_F_NODAD
		must(t, h.AddrAdd(link, a))
	}
	for _, r := range routers {
		must(t, h.RouteAdd(&netlink.Route{Gw: net.ParseIP(r), LinkIndex: link.Attrs().Index}))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// datagram sends one from an address to another.
func datagram(t *testing.T, ns *netns.Namespace, from, to string) {
	t.Helper()
	must(t, ns.Do(func() error {
		c, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)),
			net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	}))
}

func TestNothingFromOutsideClaimsAnInsideAddress(t *testing.T) {
	c := newCrossing(t)
	var inside, own net.PacketConn
	must(t, c.inside.Do(func() (err error) {
		inside, err = net.ListenPacket("udp4", "10.0.0.10:7")
		return err
	}))
	defer inside.Close()
	must(t, c.compartment.Do(func() (err error) {
		own, err = net.ListenPacket("udp4", "10.0.0.1:7")
		return err
	}))
	defer own.Close()
	// The last one is honest. Packets of one link stay in order, so its arrival tells that the others went before.
	datagram(t, c.outside, "10.0.0.77:1000", "10.0.0.10:7")
	datagram(t, c.outside, "10.0.0.77:1000", "10.0.0.1:7")
	datagram(t, c.outside, "10.1.0.5:1001", "10.0.0.10:7")
	datagram(t, c.outside, "10.1.0.5:1001", "10.0.0.1:7")
	for _, socket := range []net.PacketConn{inside, own} {
		must(t, socket.SetReadDeadline(time.Now().Add(patience)))
		_, from, err := socket.ReadFrom(make([]byte, 64))
		must(t, err)
		if from.String() != "10.1.0.5:1001" {
			t.Errorf("a packet from %v got through", from)
		}
	}
	drops, err := compartments.Drops(c.compartment)
	must(t, err)
	if len(drops) != 1 || drops[0].Reason != "spoofed-source" || drops[0].Packets != 2 ||
		drops[0].Where != "compartment" || drops[0].Bytes != 2*33 {
		t.Errorf("drops are %+v", drops)
	}
}

// Either end is told with the other's SYN, before anything was too big for the way.
func TestTCPSegmentsFitTheNarrowLinkBothWays(t *testing.T) {
	c := newCrossing(t)
	for address, most := range map[string]int{
		"10.1.0.5:80":    1400 - 20 - 20, // IPv4, TCP
		"[fd00:1::5]:80": 1400 - 40 - 20, // IPv6, TCP
	} {
		var listener net.Listener
		must(t, c.outside.Do(func() (err error) {
			listener, err = net.Listen("tcp", address)
			return err
		}))
		defer listener.Close()
		var client net.Conn
		must(t, c.inside.Do(func() (err error) {
			client, err = net.DialTimeout("tcp", address, patience)
			return err
		}))
		defer client.Close()
		server, err := listener.Accept()
		must(t, err)
		defer server.Close()
		for name, conn := range map[string]net.Conn{"client": client, "server": server} {
			// Options take more of it.
			if mss := segmentSize(t, conn); mss > most || mss < most-20 {
				t.Errorf("%s: the %s sends segments of %d octets, want at most %d", address, name, mss, most)
			}
		}
	}
}

func segmentSize(t *testing.T, c net.Conn) (mss int) {
	t.Helper()
	sc, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	must(t, sc.Control(func(fd uintptr) {
		mss, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG)
	}))
	must(t, err)
	return mss
}
