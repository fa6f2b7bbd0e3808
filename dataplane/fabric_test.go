package dataplane

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// Tests with real packets. Every wait has this bound, which only a failure reaches.
const patience = 5 * time.Second

// The provider network's MTU, and what encapsulation leaves of it.
const providerMTU, compartmentMTU = 1600, 1600 - 42

// configure gives a link addresses (without duplicate address detection) and an MTU, and routes prefixes into it.
func configure(t testing.TB, ns *netns.Namespace, name string, mtu int, addresses, routes []string) {
	t.Helper()
	h := handle(t, ns)
	l := up(t, h, name)
	if err := h.LinkSetMTU(l, mtu); err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		parsed, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		parsed.Flags = unix.IFA_F_NODAD
		if err := h.AddrAdd(l, parsed); err != nil {
			t.Fatalf("address %s of %s: %v", a, name, err)
		}
	}
	for _, r := range routes {
		dst, err := netlink.ParseIPNet(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}); err != nil {
			t.Fatalf("route %s into %s: %v", r, name, err)
		}
	}
}

// compartment makes a tenant's namespace with a link to the doors in it, as the package compartments does: without
// ARP, because the doors write the MAC addresses.
func compartment(t testing.TB, d *doors, ns *netns.Namespace, link, name string, m net.HardwareAddr,
	addresses, routes []string) {
	t.Helper()
	addPair(t, d.ns, link, ns, name, m)
	h := handle(t, ns)
	if err := h.LinkSetARPOff(up(t, h, name)); err != nil {
		t.Fatal(err)
	}
	configure(t, ns, name, compartmentMTU, addresses, routes)
	// A veth drops what its other end's MTU does not admit, but never a GSO packet.
	configure(t, d.ns, link, compartmentMTU, nil, nil)
}

// neighbours tells the kernel MAC addresses that nobody answers for.
func neighbours(t testing.TB, ns *netns.Namespace, name string, m net.HardwareAddr, addresses ...netip.Addr) {
	t.Helper()
	h := handle(t, ns)
	l := up(t, h, name)
	for _, a := range addresses {
		if err := h.NeighSet(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, IP: a.AsSlice(), HardwareAddr: m, State: netlink.NUD_PERMANENT,
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// forward turns on forwarding in a namespace.
func forward(t testing.TB, ns *netns.Namespace) {
	t.Helper()
	if err := ns.Do(func() error {
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			// /proc/sys/net shows the namespace of the thread that opens the file.
			if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// wire is a raw end of a link.
type wire struct {
	*packet.Conn
	mac net.HardwareAddr
}

func openWire(t testing.TB, ns *netns.Namespace, name string) *wire {
	t.Helper()
	w := &wire{}
	if err := ns.Do(func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		w.mac = ifi.HardwareAddr
		w.Conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func (w *wire) send(t testing.TB, frame []byte) {
	t.Helper()
	if _, err := w.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		t.Fatal(err)
	}
}

// receive waits for the first frame that is what the test wants.
func (w *wire) receive(t testing.TB, wanted func(frame []byte) bool) []byte {
	t.Helper()
	if err := w.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 1<<16)
	for {
		n, _, err := w.ReadFrom(frame)
		if err != nil {
			t.Fatalf("the frame that the test waits for did not come: %v", err)
		}
		if wanted(frame[:n]) {
			return frame[:n]
		}
	}
}

// serve answers every datagram to an address in a namespace with the name and what it said.
func serve(t testing.TB, ns *netns.Namespace, address, name string) {
	t.Helper()
	var conn net.PacketConn
	if err := ns.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", address)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		said := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(said)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(append([]byte(name+": "), said[:n]...), from)
		}
	}()
}

// dial opens a connected socket in a namespace.
func dial(t testing.TB, ns *netns.Namespace, network, local, remote string) net.Conn {
	t.Helper()
	var conn net.Conn
	if err := ns.Do(func() error {
		dialer := net.Dialer{Timeout: patience}
		if local != "" {
			a, err := net.ResolveUDPAddr("udp", net.JoinHostPort(local, "0"))
			if err != nil {
				return err
			}
			dialer.LocalAddr = a
			if strings.HasPrefix(network, "tcp") {
				dialer.LocalAddr = &net.TCPAddr{IP: a.IP}
			}
		}
		var err error
		conn, err = dialer.DialContext(t.Context(), network, remote)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask sends a datagram and waits for the answer.
func ask(conn net.Conn, question string) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(question)); err != nil {
		return "", err
	}
	answer := make([]byte, 1<<16)
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}

// node is a gateway with one compartment of one tenant, on a provider network.
type node struct {
	*doors
	inside *netns.Namespace
	pa     netip.Addr
	mac    net.HardwareAddr // of the internal interface
	tenant Tenant
}

// site says where a node's customer addresses are.
type site struct {
	number int
	vsid   uint32
	ca     []string // the node's own customer addresses, with their prefix lengths
	routes []string
}

// newNode makes a gateway whose backend link's peer lies in the namespace of the provider network.
func newNode(t testing.TB, network *netns.Namespace, s site) *node {
	t.Helper()
	n := &node{
		pa:  netip.AddrFrom4([4]byte{192, 168, 0, byte(s.number)}),
		mac: net.HardwareAddr{2, 0, 0, 1, 0, byte(s.number)},
	}
	ns := testenv.Namespace(t)
	n.inside = testenv.Namespace(t)
	peer := fmt.Sprintf("port%d", s.number)
	addVeth(t, ns, "backend0", nil, network, peer, nil)
	configure(t, ns, "backend0", providerMTU, []string{n.pa.String() + "/24"}, nil)
	configure(t, network, peer, providerMTU, nil, nil)
	n.doors = openDoors(t, ns)
	link := fmt.Sprintf("bhi%d", s.vsid)
	compartment(t, n.doors, n.inside, link, "IfCi1", n.mac, s.ca, s.routes)
	n.tenant = Tenant{Name: "Contoso", RoutingDomain: contosoID}
	own := Interface{VSID: s.vsid, Link: link, MAC: n.mac}
	for _, ca := range s.ca {
		own.Addresses = append(own.Addresses, netip.MustParsePrefix(ca).Addr())
	}
	n.tenant.Interfaces = []Interface{own}
	n.do(t, func() error {
		return n.SetGateway(Gateway{Backend: "backend0", Providers: on(n.pa)})
	})
	return n
}

// meet makes every node know every other one's addresses.
func meet(t testing.TB, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		for _, other := range nodes {
			if other == n {
				continue
			}
			n.tenant.Subnets = append(n.tenant.Subnets, Subnet{
				other.tenant.Interfaces[0].VSID, netip.PrefixFrom(other.tenant.Interfaces[0].Addresses[0], 24),
			})
			for _, ca := range other.tenant.Interfaces[0].Addresses {
				n.tenant.Records = append(n.tenant.Records, Record{
					CA: ca, VSID: other.tenant.Interfaces[0].VSID, MAC: other.mac, PA: other.pa,
				})
			}
		}
		n.set(t, n.tenant)
	}
}

// bridged is a provider network: a namespace with a bridge that join puts the nodes' links on.
func bridged(t testing.TB) (*netns.Namespace, func(ports ...string)) {
	t.Helper()
	ns := testenv.Namespace(t)
	h := handle(t, ns)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "bridge", providerMTU
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := h.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	up(t, h, "bridge")
	return ns, func(ports ...string) {
		for _, p := range ports {
			if err := h.LinkSetMaster(up(t, h, p), bridge); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// defaultVia is the IPv4 default route by a router.
func defaultVia(t testing.TB, ifindex int, router string) *netlink.Route {
	t.Helper()
	_, all, err := net.ParseCIDR("0.0.0.0/0")
	if err != nil {
		t.Fatal(err)
	}
	return &netlink.Route{LinkIndex: ifindex, Dst: all, Gw: net.ParseIP(router)}
}

// noSegmentation turns a gateway's TCP segmentation offload off, as with ethtool -K backend0 tso off.
func noSegmentation(t testing.TB, ns *netns.Namespace) {
	t.Helper()
	const name = "backend0"
	value := struct{ command, data uint32 }{unix.ETHTOOL_STSO, 0}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], name)
	if err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL,
			uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("turn off segmentation at %s: %w", name, errno)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
