package trigger_test

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/drops"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
	"bulkhead/trigger"
)

func TestMain(m *testing.M) {
	if fd := os.Getenv(holderVariable); fd != "" {
		hold(fd)
	}
	testenv.Isolated(m)
}

// network is a compartment between an inside host and two sites, each behind an interface that stands for its tunnel:
//
//	                              IfCe1 ---- [ ny ] 10.1.0.10
//	vm 10.0.0.10 ---- in0 [ gw ]
//	                              IfCe2 ---- [ sf ] 10.2.0.10
type network struct {
	gw, vm, ny, sf *netns.Namespace
}

var (
	nyAddr  = netip.MustParseAddr("10.1.0.10")
	nyAddr6 = netip.MustParseAddr("fd00:1::10")
	sfAddr  = netip.MustParseAddr("10.2.0.10")
)

func newNetwork(t testing.TB) network {
	t.Helper()
	n := network{testenv.Namespace(t), testenv.Namespace(t), testenv.Namespace(t), testenv.Namespace(t)}
	pair(t, n.gw, "in0", n.vm, "eth0")
	pair(t, n.gw, "IfCe1", n.ny, "wan")
	pair(t, n.gw, "IfCe2", n.sf, "wan")
	for ns, links := range map[*netns.Namespace][]string{
		n.gw: {"in0", "IfCe1", "IfCe2", "lo"}, n.vm: {"eth0"}, n.ny: {"wan"}, n.sf: {"wan"},
	} {
		settle(t, ns, links)
	}
	addresses(t, n.gw, "in0", "10.0.0.1/24", "fd00::1/64")
	addresses(t, n.vm, "eth0", "10.0.0.10/24", "fd00::10/64")
	addresses(t, n.ny, "wan", "10.1.0.10/24", "fd00:1::10/64")
	addresses(t, n.sf, "wan", "10.2.0.10/24", "fd00:2::10/64")
	for _, to := range []string{"0.0.0.0/0", "::/0"} {
		route(t, n.vm, to, "eth0", map[string]string{"0.0.0.0/0": "10.0.0.1", "::/0": "fd00::1"}[to])
		route(t, n.ny, to, "wan", "")
		route(t, n.sf, to, "wan", "")
	}
	tunnels(t, n.gw)
	return n
}

// tunnels are the routes of the compartment to the sites.
func tunnels(t testing.TB, gw *netns.Namespace) {
	t.Helper()
	for to, link := range map[string]string{
		"10.1.0.0/24": "IfCe1", "fd00:1::/64": "IfCe1", "10.2.0.0/24": "IfCe2", "fd00:2::/64": "IfCe2",
	} {
		route(t, gw, to, link, "")
	}
}

// settle brings links up that resolve nothing, as a tunnel's do, and lets every ICMP error out.
func settle(t testing.TB, ns *netns.Namespace, links []string) {
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
		return nil
	}))
	h := handle(t, ns)
	for _, name := range links {
		l := get(t, h, name)
		if name != "in0" && name != "eth0" && name != "lo" {
			must(t, h.LinkSetARPOff(l))
			must(t, h.LinkSetIP6AddrGenMode(l, 1))
		}
		must(t, h.LinkSetUp(l))
	}
}

// pair makes a link between two namespaces. All ends have one MAC address, so that those that resolve nothing agree.
func pair(t testing.TB, a *netns.Namespace, nameA string, b *netns.Namespace, nameB string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nameA
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerNamespace = nameB, netlink.NsFd(b.Fd())
	if nameB == "wan" {
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
		v.HardwareAddr, v.PeerHardwareAddr = mac, mac
	}
	must(t, handle(t, a).LinkAdd(v))
}

func addresses(t testing.TB, ns *netns.Namespace, link string, list ...string) {
	t.Helper()
	h := handle(t, ns)
	for _, s := range list {
		a, err := netlink.ParseAddr(s)
		must(t, err)
		a.Flags = unix.IFA_F_NODAD
		must(t, h.AddrAdd(get(t, h, link), a))
	}
}

func route(t testing.TB, ns *netns.Namespace, to, link, via string) {
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

func handle(t testing.TB, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink()
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func get(t testing.TB, h *netlink.Handle, name string) netlink.Link {
	t.Helper()
	l, err := h.LinkByName(name)
	must(t, err)
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened is a Trigger with both tunnels declared, and what it asked for.
func opened(t testing.TB, n network, o trigger.Options) (*trigger.Trigger, chan string) {
	t.Helper()
	asked := make(chan string, 1000)
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	o.Wanted = func(link string) { asked <- link }
	tr, err := trigger.Open(n.gw, o)
	must(t, err)
	t.Cleanup(func() { must(t, tr.Close()) })
	must(t, tr.Set([]string{"IfCe1", "IfCe2"}))
	return tr, asked
}

// wantAsked waits until the tunnel is asked for.
func wantAsked(t testing.TB, asked <-chan string, link string) {
	t.Helper()
	select {
	case got := <-asked:
		if got != link {
			t.Fatalf("the tunnel of %s is asked for, want %s", got, link)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("in 10 s nothing asked for %s", link)
	}
}

// dropped is what was counted under a reason.
func dropped(t testing.TB, n network, reason string) uint64 {
	t.Helper()
	all, err := trigger.Drops(n.gw)
	must(t, err)
	i := slices.IndexFunc(all, func(d drops.Drop) bool { return d.Reason == reason })
	if i < 0 {
		t.Fatalf("no counter %s in %v", reason, all)
	}
	return all[i].Packets
}

// listen receives datagrams at the address.
func listen(t testing.TB, ns *netns.Namespace, at netip.Addr) <-chan string {
	t.Helper()
	got := make(chan string, 10000)
	must(t, ns.Do(func() error {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 7)))
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = c.Close() })
		raw, err := c.SyscallConn()
		must(t, err)
		must(t, raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		}))
		must(t, err)
		go func() {
			buf := make([]byte, 1<<16)
			for {
				k, err := c.Read(buf)
				if err != nil {
					return
				}
				got <- string(buf[:k])
			}
		}()
		return nil
	}))
	return got
}

// wantGot waits for the datagrams in order.
func wantGot(t testing.TB, got <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case g := <-got:
			if g != w {
				t.Fatalf("the datagram %.20q came, want %.20q", g, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("in 10 s the datagram %.20q did not come", w)
		}
	}
}

// socket sends datagrams from the namespace to the address.
func socket(t testing.TB, ns *netns.Namespace, to netip.Addr) net.Conn {
	t.Helper()
	var c net.Conn
	must(t, ns.Do(func() (err error) {
		c, err = net.Dial("udp", netip.AddrPortFrom(to, 7).String())
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func send(t testing.TB, c net.Conn, texts ...string) {
	t.Helper()
	for _, s := range texts {
		_, err := c.Write([]byte(s))
		must(t, err)
	}
}

// connect begins a TCP connection and gives its outcome.
func connect(t testing.TB, ns *netns.Namespace, to netip.AddrPort) <-chan error {
	t.Helper()
	outcome := make(chan error, 1)
	go func() {
		outcome <- ns.Do(func() error {
			c, err := net.DialTimeout("tcp", to.String(), 15*time.Second)
			if err == nil {
				_ = c.Close()
			}
			return err
		})
	}()
	return outcome
}

// serve accepts TCP connections.
func serve(t testing.TB, ns *netns.Namespace, at netip.AddrPort) {
	t.Helper()
	must(t, ns.Do(func() error {
		l, err := net.Listen("tcp", at.String())
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
				_ = c.Close()
			}
		}()
		return nil
	}))
}
