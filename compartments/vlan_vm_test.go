//go:build vm

// These tests need VLAN devices, which not every kernel has; they run in the virtual machine.

package compartments_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"bulkhead/compartments"
	"bulkhead/internal/watch"
)

// tagged is a backend NIC with provider addresses in two VLANs, and provider routes through them.
func tagged(ids ...uint16) compartments.Default {
	nic := compartments.NIC{Name: "backend0", MTU: 1600, Addresses: []netip.Prefix{prefix("192.168.0.11/24")}}
	d := compartments.Default{}
	for i, id := range ids {
		third := string(rune('1' + i))
		nic.VLANs = append(nic.VLANs, compartments.VLAN{ID: id, Addresses: []netip.Prefix{
			prefix("192.168." + third + ".11/24"), prefix("2001:db8:" + third + "::11/64"),
		}})
		d.Routes = append(d.Routes, compartments.Route{
			Prefix: prefix("2001:db8:9" + third + "::/64"), NextHop: addr("2001:db8:" + third + "::1"),
			Link: compartments.VLANName("backend0", id),
		})
	}
	d.NICs = []compartments.NIC{nic}
	return d
}

func TestProviderAddressesInVLANsAreOnDevicesOfTheirOwn(t *testing.T) {
	g := newGateway(t)
	withNICs(t, g)
	g.setDefault(t, tagged(100, 200))
	for name, want := range map[string]string{
		"backend0.100": "192.168.1.11/24 2001:db8:1::11/64", "backend0.200": "192.168.2.11/24 2001:db8:2::11/64",
	} {
		wantAddresses(t, g, name, strings.Fields(want)...)
		l := link(g.state(t, g.def), name)
		if l.Kind != "vlan" || !l.Up || l.MTU != 1600 {
			t.Errorf("%s is %+v", name, l)
		}
		wantSysctl(t, g.def, "ipv4/conf/"+name+"/arp_ignore", "1")
		wantSysctl(t, g.def, "ipv6/conf/"+name+"/accept_ra", "0")
	}
	index := link(g.state(t, g.def), "backend0.100").Index
	// Another manager adopts them; a larger NIC takes them along; of two the one that is declared stays as it is.
	again := g.restart(t)
	watch.Quiet(t, func() { must(t, again.SetDefault(t.Context(), tagged(100, 200))) }, g.def)
	larger := tagged(100)
	larger.NICs[0].MTU = 9000
	g.setDefault(t, larger)
	s := g.state(t, g.def)
	if l := link(s, "backend0.100"); l == nil || l.Index != index || l.MTU != 9000 {
		t.Errorf("backend0.100 is %+v, had index %d", l, index)
	}
	if l := link(s, "backend0.200"); l != nil {
		t.Errorf("%+v is declared no longer and stands", l)
	}
	wantRoutes(t, s, []string{"2001:db8:91::/64 metric 1024 via 2001:db8:1::1 dev backend0.100"})
	g.setDefault(t, tagged())
	if l := link(g.state(t, g.def), "backend0.100"); l != nil {
		t.Errorf("%+v is declared no longer and stands", l)
	}
}

func TestVLANDevicesOfOthersAreUsedAndLeftAlone(t *testing.T) {
	g := newGateway(t)
	withNICs(t, g)
	h := handle(t, g.def)
	add := func(name, on string, id int) {
		t.Helper()
		nic, err := h.LinkByName(on)
		must(t, err)
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = name, nic.Attrs().Index
		device := &netlink.Vlan{LinkAttrs: attrs, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
		must(t, h.LinkAdd(device))
		must(t, h.LinkSetAlias(device, "the operator's"))
	}
	add("backend0.100", "backend0", 100)
	add("backend0.300", "backend0", 301) // Its name says what it is not.
	add("storage", "backend0", 400)
	add("bhtv200", "backend0", 200) // A predecessor crashed before it could give the device its name,
	add("bhtv500", "backend0", 500) // and another device has been undeclared since.
	g.setDefault(t, tagged(100))
	wantAddresses(t, g, "backend0.100", "192.168.1.11/24", "2001:db8:1::11/64")
	for id, want := range map[uint16]string{
		300: "VLAN device backend0.300: a vlan of this name, which is not VLAN 300 of backend0, stands already",
		400: "VLAN device backend0.400: backend0 has a device of another name for VLAN 400 already",
	} {
		// What can be carried out is carried out.
		err := g.SetDefault(t.Context(), tagged(100, id, 200))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want it to say %q", err, want)
		}
		wantAddresses(t, g, "backend0.200", "192.168.3.11/24", "2001:db8:3::11/64")
	}
	g.setDefault(t, compartments.Default{})
	for name, stays := range map[string]bool{
		"backend0.100": true, "backend0.300": true, "storage": true, "backend0.200": false, "bhtv500": false,
	} {
		if l := link(g.state(t, g.def), name); (l != nil) != stays {
			t.Errorf("%s is %+v, want it to stay: %v", name, l, stays)
		}
	}
	if l := link(g.state(t, g.def), "backend0.100"); len(l.Addresses) > 1 || l.Alias != "the operator's" {
		t.Errorf("backend0.100 is left as %+v", l)
	}
}
