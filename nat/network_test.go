package nat_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
	"bulkhead/internal/testenv"
	"bulkhead/nat"
)

// network is a compartment between two inside hosts on a bridge and the Internet:
//
//	vm 10.0.0.10 ----+
//	                 in0 [ gw ] ext ---- wan [ internet ] 65.10.10.100 and others
//	server 10.0.0.100 +
//
// Both ends of the outside link have the same MAC and resolve nothing, which stands for door 2.
type network struct {
	gw, vm, server, internet *netns.Namespace
}

const timeout = 3 * time.Second

var (
	public   = netip.MustParseAddr("131.107.10.12")
	public6  = netip.MustParseAddr("2001:db8:10::12")
	web      = netip.MustParseAddr("65.10.10.100")
	web6     = netip.MustParseAddr("2001:db8:65::100")
	vmAddr   = netip.MustParseAddr("10.0.0.10")
	vmAddr6  = netip.MustParseAddr("fd00::10")
	srvAddr  = netip.MustParseAddr("10.0.0.100")
	srvAddr6 = netip.MustParseAddr("fd00::100")
)

// tenant is a NAT of one address per family, with mappings to the server.
func tenant() nat.Config {
	return nat.Config{
		Link:      "ext",
		Addresses: []nat.Address{{Address: public}, {Address: public6}},
		Mappings: []nat.Mapping{
			{Protocol: nat.TCP, External: netip.AddrPortFrom(public, 443), Internal: netip.AddrPortFrom(srvAddr, 8443)},
			{Protocol: nat.UDP, External: netip.AddrPortFrom(public, 53), Internal: netip.AddrPortFrom(srvAddr, 5353)},
			{Protocol: nat.TCP, External: netip.AddrPortFrom(public6, 443), Internal: netip.AddrPortFrom(srvAddr6, 8443)},
		},
	}
}

func newNetwork(t *testing.T) network {
	t.Helper()
	n := network{
		gw: testenv.Namespace(t), vm: testenv.Namespace(t), server: testenv.Namespace(t), internet: testenv.Namespace(t),
	}
	gw := handle(t, n.gw)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "in0"
	snooping := false // It would hold back neighbour discovery until the hosts have reported.
	must(t, gw.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}))
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	pair(t, n.gw, "ext", mac, n.internet, "wan", mac)
	pair(t, n.gw, "vm", nil, n.vm, "eth0", nil)
	pair(t, n.gw, "server", nil, n.server, "eth0", nil)
	for _, port := range []string{"vm", "server"} {
		must(t, gw.LinkSetMaster(get(t, gw, port), get(t, gw, "in0").(*netlink.Bridge)))
	}
	silence(t, n.internet)
	for _, h := range []*netns.Namespace{n.gw, n.vm, n.server, n.internet} {
		settle(t, h)
	}
	addresses(t, n.gw, "in0", "10.0.0.1/24", "fd00::1/64")
	addresses(t, n.vm, "eth0", "10.0.0.10/24", "fd00::10/64")
	addresses(t, n.server, "eth0", "10.0.0.100/24", "fd00::100/64")
	addresses(t, n.internet, "wan", "65.10.10.100/32", "2001:db8:65::100/128", "192.168.7.7/32", "10.1.0.5/32")
	for _, inside := range []*netns.Namespace{n.vm, n.server} {
		route(t, inside, "0.0.0.0/0", "eth0", "10.0.0.1")
		route(t, inside, "::/0", "eth0", "fd00::1")
	}
	route(t, n.gw, "0.0.0.0/0", "ext", "")
	route(t, n.gw, "::/0", "ext", "")
	for _, to := range []string{"131.107.10.0/24", "10.0.0.0/24", "2001:db8:10::/64"} {
		route(t, n.internet, to, "wan", "")
	}
	return n
}

// silence keeps the Internet's kernel from sending multicast unasked, which would be counted; door 2 would not pass it.
func silence(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	groups := nft.Cover([]netip.Prefix{netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("224.0.0.0/4")}, nil)
	_, err := nft.Apply(ns, nft.Table{
		Name: "silence", Sets: []nft.Set{nft.IPv4.Ranges("groups4", groups), nft.IPv6.Ranges("groups6", groups)},
		Chains: []nft.Chain{{
			Name: "out", Type: nftables.ChainTypeFilter, Hook: nftables.ChainHookOutput,
			Rules: []nft.Rule{
				nft.Join(nft.IPv4.DestinationIn("groups4"), nft.Drop()),
				nft.Join(nft.IPv6.DestinationIn("groups6"), nft.Drop()),
			},
		}},
	})
	must(t, err)
}

// settle brings everything up and turns off what would send or answer unasked. Redirects stay on, as the kernel has
// them: nat must not need them off.
func settle(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	must(t, ns.Do(func() error {
		for path, value := range map[string]string{
			"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/icmp_ratelimit": "0",
			"ipv4/icmp_msgs_per_sec": "100000", "ipv6/icmp/ratelimit": "0",
		} {
			if err := os.WriteFile("/proc/sys/net/"+path, []byte(value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		links, err := os.ReadDir("/proc/sys/net/ipv4/conf")
		for _, l := range links {
			for _, path := range []string{"ipv4/conf/" + l.Name() + "/rp_filter", "ipv6/conf/" + l.Name() + "/accept_dad"} {
				err = errors.Join(err, os.WriteFile("/proc/sys/net/"+path, []byte("0"), 0))
			}
		}
		return err
	}))
	h := handle(t, ns)
	links, err := h.LinkList()
	must(t, err)
	for _, l := range links {
		if l.Attrs().Name == "ext" || l.Attrs().Name == "wan" {
			must(t, h.LinkSetARPOff(l))
			must(t, h.LinkSetIP6AddrGenMode(l, 1))
		}
		must(t, h.LinkSetUp(l))
	}
}

func pair(t *testing.T, a *netns.Namespace, nameA string, macA net.HardwareAddr,
	b *netns.Namespace, nameB string, macB net.HardwareAddr,
) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = nameA, macA
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerNamespace, v.PeerHardwareAddr = nameB, netlink.NsFd(b.Fd()), macB
	must(t, handle(t, a).LinkAdd(v))
}

func addresses(t *testing.T, ns *netns.Namespace, link string, list ...string) {
	t.Helper()
	h := handle(t, ns)
	for _, s := range list {
		a, err := netlink.ParseAddr(s)
		must(t, err)
		a.Flags = unix.IFA_F_NODAD
		must(t, h.AddrAdd(get(t, h, link), a))
	}
}

func route(t *testing.T, ns *netns.Namespace, to, link, via string) {
	t.Helper()
	h := handle(t, ns)
	_, dst, err := net.ParseCIDR(to)
	must(t, err)
	r := &netlink.Route{Dst: dst, LinkIndex: get(t, h, link).Attrs().Index, Gw: net.ParseIP(via)}
	if via == "" {
		r.Scope = netlink.SCOPE_LINK
	}
	must(t, h.RouteAdd(r))
}

func handle(t *testing.T, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink()
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func get(t *testing.T, h *netlink.Handle, name string) netlink.Link {
	t.Helper()
	l, err := h.LinkByName(name)
	must(t, err)
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func set(t *testing.T, n network, c nat.Config) {
	t.Helper()
	must(t, nat.Set(t.Context(), n.gw, c))
}

// serve answers every connection and datagram at the address with who it came from.
func serve(t *testing.T, ns *netns.Namespace, network string, at netip.AddrPort) {
	t.Helper()
	must(t, ns.Do(func() error {
		if network == "udp" {
			c, err := net.ListenPacket(network, at.String())
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			go func() {
				buf := make([]byte, 2048)
				for {
					_, from, err := c.ReadFrom(buf)
					if err != nil {
						return
					}
					_, _ = c.WriteTo([]byte(from.String()), from)
				}
			}()
			return nil
		}
		l, err := net.Listen(network, at.String())
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { _ = c.Close() })
				go echoRemote(c)
			}
		}()
		return nil
	}))
}

// echoRemote answers each octet with one line: who the peer is.
func echoRemote(c net.Conn) {
	one := make([]byte, 1)
	for {
		if _, err := io.ReadFull(c, one); err != nil {
			return
		}
		if _, err := fmt.Fprint(c, c.RemoteAddr().String()); err != nil {
			return
		}
	}
}

// dial connects from an address (any where invalid) to another. The connection closes with the test.
func dial(t *testing.T, ns *netns.Namespace, network string, from netip.AddrPort, to netip.AddrPort) (net.Conn, error) {
	t.Helper()
	var c net.Conn
	err := ns.Do(func() (err error) {
		d := net.Dialer{Timeout: timeout}
		if from.IsValid() && network == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(from)
		} else if from.IsValid() {
			d.LocalAddr = net.UDPAddrFromAddrPort(from)
		}
		c, err = d.Dial(network, to.String())
		return err
	})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// ask sends one octet and returns the answer: how the server sees us.
func ask(t *testing.T, c net.Conn) (netip.AddrPort, error) {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(timeout)))
	if _, err := c.Write([]byte("?")); err != nil {
		return netip.AddrPort{}, err
	}
	buf := make([]byte, 128)
	k, err := c.Read(buf)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.ParseAddrPort(string(buf[:k]))
}

// seenAs dials, asks and returns how the server sees the client.
func seenAs(t *testing.T, ns *netns.Namespace, network string, from, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	c, err := dial(t, ns, network, from, to)
	must(t, err)
	seen, err := ask(t, c)
	if err != nil {
		t.Fatalf("%s to %v: %v", network, to, err)
	}
	if network == "udp" {
		must(t, c.Close()) // A test may come again from the same port.
	}
	return seen
}

// dropped is what the guard has counted under a reason.
func dropped(t *testing.T, n network, reason string) uint64 {
	t.Helper()
	all, err := nat.Drops(n.gw)
	must(t, err)
	i := slices.IndexFunc(all, func(d drops.Drop) bool { return d.Reason == reason })
	if i < 0 {
		t.Fatalf("no counter %s in %v", reason, all)
	}
	return all[i].Packets
}

// wantDropped waits until the guard has counted exactly so many packets under a reason.
func wantDropped(t *testing.T, n network, reason string, packets uint64) {
	t.Helper()
	poll, end := time.NewTicker(time.Millisecond), time.After(timeout)
	defer poll.Stop()
	for waiting := true; waiting && dropped(t, n, reason) < packets; {
		select {
		case <-poll.C:
		case <-end:
			waiting = false
		}
	}
	if got := dropped(t, n, reason); got != packets {
		t.Errorf("%s counts %d packets, want %d", reason, got, packets)
	}
}
