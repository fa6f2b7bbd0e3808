package bench_test

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"bulkhead/dataplane"
)

const vxlanPort = 4789

// doorsIn opens the doors of a machine, which go with the test.
func doorsIn(t testing.TB, m *machine, g dataplane.Gateway) *dataplane.Dataplane {
	t.Helper()
	var d *dataplane.Dataplane
	must(t, "open the doors", m.Do(func() (err error) {
		if d, err = dataplane.Open(filepath.Join(t.TempDir(), "bpf")); err != nil {
			return err
		}
		return d.SetGateway(g)
	}))
	t.Cleanup(func() {
		if err := d.Destroy(); err != nil {
			t.Errorf("destroy the doors: %v", err)
		}
	})
	return d
}

func gatewayAt(pa netip.Addr) dataplane.Gateway {
	return dataplane.Gateway{
		Backend:   "backend0",
		Providers: []dataplane.Provider{{Address: netip.PrefixFrom(pa, 24), Link: "backend0"}},
	}
}

// contoso is the tenant as the gateway has it, with lookup records for as many customer addresses, the VM's first.
func contoso(records int) dataplane.Tenant {
	t := dataplane.Tenant{
		Name: "Contoso", RoutingDomain: uuid.MustParse("12345678-1000-2000-3000-123456780001"),
		Interfaces: []dataplane.Interface{{
			VSID: gatewayVSID, Link: "bhi0", MAC: insideMAC, Addresses: []netip.Addr{gatewayCA},
		}},
		Subnets: []dataplane.Subnet{{VSID: vmVSID, Prefix: vmNet}, {VSID: gatewayVSID, Prefix: clientNet}},
		Records: make([]dataplane.Record, records),
	}
	for i := range t.Records {
		t.Records[i] = dataplane.Record{CA: customer(i), VSID: vmVSID, MAC: vmMAC, PA: hostPA}
	}
	return t
}

// customer is the address of VM number i, of up to 2^17 in vmNet.
func customer(i int) netip.Addr {
	n := 10<<24 + 10 + i
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// joinNVGRE joins by the doors, with so many lookup records at the gateway.
func joinNVGRE(records int) func(testing.TB, *fabric) { return joinNVGREBy(cable, records) }

// joinNVGREBy takes another kind of pair than a veth for the compartment.
func joinNVGREBy(pair func(t testing.TB, a, b plug), records int) func(testing.TB, *fabric) {
	return func(t testing.TB, f *fabric) {
		t.Helper()
		f.innerBy(t, pair)
		d := doorsIn(t, f.gateway, gatewayAt(gatewayPA))
		must(t, "set the gateway's tenant", f.gateway.Do(func() error { return d.SetTenant(contoso(records)) }))
		there := contoso(0)
		there.Interfaces[0] = dataplane.Interface{VSID: vmVSID, Link: "bhi0", MAC: vmMAC, Addresses: []netip.Addr{vmCA}}
		there.Records = []dataplane.Record{{CA: clientIP, VSID: gatewayVSID, MAC: insideMAC, PA: gatewayPA}}
		h := doorsIn(t, f.host, gatewayAt(hostPA))
		must(t, "set the host's tenant", f.host.Do(func() error { return h.SetTenant(there) }))
		f.decap = func(packet []byte) []byte { return nvgreFrame(gatewayVSID, packet) }
		f.overhead = 20 + 8 + 14
	}
}

// vxlanDevice makes a machine's VXLAN device, and moves it into another one where that is given.
func vxlanDevice(t testing.TB, m *machine, vni uint32, from, to netip.Addr, own net.HardwareAddr, into *machine,
	name string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = "vx0", own, innerMTU
	must(t, "add vxlan device", m.LinkAdd(&netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: int(vni), VtepDevIndex: m.index(t, "backend0"), SrcAddr: from.AsSlice(), Group: to.AsSlice(),
		Port: vxlanPort,
	}))
	if into != m {
		l := m.link(t, "vx0")
		must(t, "rename vxlan device", m.LinkSetName(l, name))
		must(t, "move vxlan device", m.LinkSetNsFd(m.link(t, name), into.Fd()))
	}
	into.up(t, name)
}

func joinVXLAN(t testing.TB, f *fabric) {
	t.Helper()
	f.inner(t)
	vxlanDevice(t, f.gateway, vmVSID, gatewayPA, hostPA, vxlanMAC, f.gateway, "vx0")
	vxlanDevice(t, f.host, vmVSID, hostPA, gatewayPA, vxlanRemoteMAC, f.host, "vx0")
	f.across(t, "vx0", netip.MustParseAddr("10.254.0.1"), vxlanMAC, netip.MustParseAddr("10.254.0.2"), vxlanRemoteMAC)
	f.vxlanFrames(vxlanMAC)
}

// across makes the gateway and the host route between their inner link and the one that joins them.
func (f *fabric) across(t testing.TB, link string, a netip.Addr, aMAC net.HardwareAddr, b netip.Addr,
	bMAC net.HardwareAddr) {
	t.Helper()
	f.gateway.forward(t)
	f.host.forward(t)
	f.gateway.noARP(t, "bhi0")
	f.host.noARP(t, "bhi0")
	f.gateway.neighbour(t, link, b, bMAC)
	f.host.neighbour(t, link, a, aMAC)
	f.gateway.route(t, vmNet, b, link)
	f.gateway.route(t, clientNet, gatewayCA, "bhi0")
	f.host.route(t, clientNet, a, link)
	f.host.route(t, vmNet, vmCA, "bhi0")
}

func joinVXLANDirect(t testing.TB, f *fabric) {
	t.Helper()
	vxlanDevice(t, f.gateway, vmVSID, gatewayPA, hostPA, insideMAC, f.compartment, "IfCi1")
	vxlanDevice(t, f.host, vmVSID, hostPA, gatewayPA, vmMAC, f.vm, "eth0")
	f.ends(t)
	f.compartment.neighbour(t, "IfCi1", nextHop, vmMAC)
	f.vm.neighbour(t, "eth0", nextHop, insideMAC)
	f.vxlanFrames(insideMAC)
}

func (f *fabric) vxlanFrames(to net.HardwareAddr) {
	f.decap = func(packet []byte) []byte { return vxlanFrame(vmVSID, to, packet) }
	f.overhead = 20 + 8 + 8 + 14
}

func joinRouted(t testing.TB, f *fabric) {
	t.Helper()
	f.inner(t)
	f.across(t, "backend0", gatewayPA, backendMAC, hostPA, hostMAC)
	f.decap = func(packet []byte) []byte { return ether(backendMAC, hostMAC, packet) }
}

// way is one way of joining; the first of a case is what is measured, the others its peers.
type way struct {
	name string // of its metric
	join func(testing.TB, *fabric)
}

func ways(records int) []way {
	return []way{
		{"nvgre", joinNVGRE(records)}, {"vxlan", joinVXLAN}, {"vxlan_direct", joinVXLANDirect}, {"routed", joinRouted},
	}
}
