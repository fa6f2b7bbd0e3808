// Package bench_test holds the benchmarks (`make bench`): each figure next to its peers', measured in the same run.
package bench_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// The machines of a fabric are namespaces, alike for every way of joining the gateway and the host:
//
//	client        compartment         Default (gateway)                  host                 VM
//	+-----+     +---------------+     +------------------+     +-----------------+     +---------+
//	| eth0|-----|ext0     IfCi1 |-----|bhi0      backend0|-----|backend0     bhi0|-----|eth0     |
//	+-----+     |   forwards    |     |  the way across  |     |  the way across |     +---------+
//	10.2.0.2    +---------------+     +------------------+     +-----------------+     10.0.0.10
//	            10.2.0.1 10.255.0.2         192.168.0.11         192.168.0.22
//
// All links are veths, with the same MTUs, addresses, routes and offloads. Only the way across differs:
//
//	nvgre          the doors on bhi0 and backend0, on either side; Default forwards nothing
//	vxlan          Default forwards between bhi0 and a VXLAN device, whose packets leave by backend0
//	vxlan_direct   the VXLAN device takes IfCi1's place in the compartment (and eth0's in the VM); there is no bhi0
//	routed         Default forwards between bhi0 and backend0: no encapsulation, the most that can be reached
const (
	backendMTU = 1600 // of the provider network
	innerMTU   = 1500 // of all others, which leaves room for either encapsulation
)

var (
	clientIP, extIP   = netip.MustParseAddr("10.2.0.2"), netip.MustParseAddr("10.2.0.1")
	gatewayCA, vmCA   = netip.MustParseAddr("10.255.0.2"), netip.MustParseAddr("10.0.0.10")
	gatewayPA, hostPA = netip.MustParseAddr("192.168.0.11"), netip.MustParseAddr("192.168.0.22")

	nextHop = netip.MustParseAddr("169.254.0.1") // of the compartment's and the VM's routes; nobody has it

	clientNet, vmNet = netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("10.0.0.0/15")

	// A link's two ends share one address where nothing resolves it: what is sent to a link without ARP goes to the
	// sender's own address.
	insideMAC, vmMAC         = mac("02:00:00:00:01:01"), mac("02:00:00:00:02:02")
	backendMAC, hostMAC      = mac("02:00:00:00:00:11"), mac("02:00:00:00:00:22")
	clientMAC, extMAC        = mac("02:00:00:00:03:01"), mac("02:00:00:00:03:02")
	gatewayVSID, vmVSID      = uint32(6001), uint32(5001)
	vxlanMAC, vxlanRemoteMAC = mac("02:00:00:00:04:11"), mac("02:00:00:00:04:22")
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// machine is a namespace with a netlink socket in it.
type machine struct {
	*netns.Namespace
	*netlink.Handle
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	ns := testenv.Namespace(t)
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	m := &machine{ns, h}
	// Router solicitations and the like would be measured with the rest.
	m.sysctl(t, "ipv6/conf/default/disable_ipv6", "1")
	return m
}

func (m *machine) sysctl(t testing.TB, key, value string) {
	t.Helper()
	if err := m.Do(func() error {
		// /proc/sys/net shows the namespace of the thread that opens the file.
		return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
	}); err != nil {
		t.Fatal(err)
	}
}

// plug is one end of a veth.
type plug struct {
	in   *machine
	name string
	mac  net.HardwareAddr
	mtu  int
}

func cable(t testing.TB, a, b plug) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = a.name, a.mac, a.mtu
	must(t, "add veth "+a.name, a.in.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: b.name, PeerHardwareAddr: b.mac, PeerNamespace: netlink.NsFd(b.in.Fd()), PeerMTU: uint32(b.mtu),
	}))
	a.in.up(t, a.name)
	b.in.up(t, b.name)
}

func (m *machine) link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := m.LinkByName(name)
	must(t, "find link "+name, err)
	return l
}

func (m *machine) index(t testing.TB, name string) int { return m.link(t, name).Attrs().Index }

func (m *machine) up(t testing.TB, name string) {
	t.Helper()
	must(t, "set up link "+name, m.LinkSetUp(m.link(t, name)))
}

func (m *machine) address(t testing.TB, link, prefix string) {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	must(t, "parse "+prefix, err)
	must(t, "add address "+prefix, m.AddrAdd(m.link(t, link), a))
}

// noARP makes the kernel send everything to the link's own MAC address, as on a compartment's internal interface.
func (m *machine) noARP(t testing.TB, link string) {
	t.Helper()
	must(t, "set NOARP", m.LinkSetARPOff(m.link(t, link)))
}

// route sends a prefix to a next hop, or into the link where there is none.
func (m *machine) route(t testing.TB, prefix netip.Prefix, via netip.Addr, link string) {
	t.Helper()
	dst := &net.IPNet{IP: prefix.Masked().Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)}
	r := &netlink.Route{Dst: dst, LinkIndex: m.index(t, link), Scope: netlink.SCOPE_LINK}
	if via.IsValid() {
		r.Gw, r.Scope, r.Flags = via.AsSlice(), netlink.SCOPE_UNIVERSE, int(netlink.FLAG_ONLINK)
	}
	must(t, fmt.Sprintf("add route %v", prefix), m.RouteAdd(r))
}

func (m *machine) neighbour(t testing.TB, link string, ip netip.Addr, to net.HardwareAddr) {
	t.Helper()
	must(t, fmt.Sprintf("add neighbour %v", ip), m.NeighSet(&netlink.Neigh{
		LinkIndex: m.index(t, link), IP: ip.AsSlice(), HardwareAddr: to, State: netlink.NUD_PERMANENT,
	}))
}

func (m *machine) forward(t testing.TB) { m.sysctl(t, "ipv4/ip_forward", "1") }

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// fabric is the five machines, joined in one way.
type fabric struct {
	client, compartment, gateway, host, vm *machine

	// decap is the frame that the gateway's backend link gets for a packet from the VM.
	decap func(inner []byte) []byte
	// overhead is by how much encapsulation makes a frame longer.
	overhead int
}

// newFabric makes the machines and joins them.
func newFabric(t testing.TB, join func(testing.TB, *fabric)) *fabric {
	t.Helper()
	f := &fabric{
		client: newMachine(t), compartment: newMachine(t), gateway: newMachine(t), host: newMachine(t), vm: newMachine(t),
	}
	cable(t, plug{f.client, "eth0", clientMAC, innerMTU}, plug{f.compartment, "ext0", extMAC, innerMTU})
	cable(t, plug{f.gateway, "backend0", backendMAC, backendMTU}, plug{f.host, "backend0", hostMAC, backendMTU})
	f.client.address(t, "eth0", clientIP.String()+"/24")
	f.client.neighbour(t, "eth0", extIP, extMAC)
	f.client.route(t, vmNet, extIP, "eth0")
	f.compartment.toClients(t)
	f.gateway.address(t, "backend0", gatewayPA.String()+"/24")
	f.gateway.neighbour(t, "backend0", hostPA, hostMAC)
	f.host.address(t, "backend0", hostPA.String()+"/24")
	f.host.neighbour(t, "backend0", gatewayPA, backendMAC)
	for _, m := range []*machine{f.client, f.vm} {
		m.sysctl(t, "ipv4/tcp_slow_start_after_idle", "0")
	}
	join(t, f)
	return f
}

// toClients gives a compartment its outer side.
func (m *machine) toClients(t testing.TB) {
	t.Helper()
	m.address(t, "ext0", extIP.String()+"/24")
	m.neighbour(t, "ext0", clientIP, clientMAC)
	m.route(t, clientNet, clientIP, "ext0")
	m.forward(t)
}

// inner links the compartment and the VM with the machines that join them.
func (f *fabric) inner(t testing.TB) { f.innerBy(t, cable) }

// innerBy takes another kind of pair than a veth for the compartment.
func (f *fabric) innerBy(t testing.TB, pair func(t testing.TB, a, b plug)) {
	t.Helper()
	pair(t, plug{f.gateway, "bhi0", insideMAC, innerMTU}, plug{f.compartment, "IfCi1", insideMAC, innerMTU})
	cable(t, plug{f.host, "bhi0", vmMAC, innerMTU}, plug{f.vm, "eth0", vmMAC, innerMTU})
	f.ends(t)
	f.compartment.noARP(t, "IfCi1")
	f.vm.noARP(t, "eth0")
}

// ends gives the compartment and the VM their addresses and routes: by a next hop, as the gateway's are, so that there is
// one neighbour and not one for each customer address.
func (f *fabric) ends(t testing.TB) {
	t.Helper()
	f.compartment.address(t, "IfCi1", gatewayCA.String()+"/32")
	f.vm.address(t, "eth0", vmCA.String()+"/32")
	f.compartment.route(t, vmNet, nextHop, "IfCi1")
	f.vm.route(t, clientNet, nextHop, "eth0")
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(u.Release[:])
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}
