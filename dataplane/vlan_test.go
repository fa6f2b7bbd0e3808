package dataplane

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

var (
	vlanProvider = addr("192.168.7.11")
	vlanHost     = addr("192.168.7.22")
)

// vlanDoors are doors with a provider address in VLAN 7, which sends on a link, and one in none; a tenant that echoes.
func vlanDoors(t testing.TB, link string) (d *doors, hostNS *netns.Namespace) {
	t.Helper()
	ns, hostNS, inside := testenv.Namespace(t), testenv.Namespace(t), testenv.Namespace(t)
	addVeth(t, ns, "backend0", backendMAC, hostNS, "wire0", hostMAC)
	configure(t, ns, "backend0", providerMTU, []string{"192.168.0.11/24"}, nil)
	configure(t, hostNS, "wire0", providerMTU, nil, nil)
	if link != "backend0" {
		addVLAN(t, ns, "backend0", link)
		addVLAN(t, hostNS, "wire0", "wire0.7")
	}
	configure(t, ns, link, providerMTU, []string{"192.168.7.11/24"}, nil)
	neighbours(t, ns, link, hostMAC, vlanHost)
	d = openDoors(t, ns)
	compartment(t, d, inside, "bhi6001", "IfCi1", gatewayMAC, []string{"10.0.254.2/24"}, []string{"10.0.0.0/24"})
	serve(t, inside, "10.0.254.2:7", "Contoso")
	d.do(t, func() error {
		g := Gateway{Backend: "backend0", Providers: on(provider)}
		g.Providers = append(g.Providers, Provider{Address: netip.PrefixFrom(vlanProvider, 24), Link: link, VLAN: 7})
		return d.SetGateway(g)
	})
	c := contoso()
	c.External, c.Records = nil, []Record{{CA: vmCA, VSID: 5001, MAC: vmMAC, PA: vlanHost}}
	d.set(t, c)
	return d, hostNS
}

// vmAsks is a datagram of a VM behind a host to the tenant's echo, sent to a provider address.
func vmAsks(from, to netip.Addr, text string) []byte {
	packet := ip4(vmCA, gatewayCA, 17, datagram(vmCA, gatewayCA, 4000, 7, text))
	return ether(backendMAC, hostMAC, etherIPv4,
		ip4(from, to, 47, gre(6001, 9, ether(gatewayMAC, vmMAC, etherIPv4, packet))))
}

// tagged puts a frame into a VLAN.
func tagged(frame []byte, tag ...byte) []byte {
	return slices.Concat(frame[:12], []byte{0x81, 0}, tag, frame[12:])
}

func TestAProviderAddressInAVLANTakesFramesOfThatVLANOnly(t *testing.T) {
	d, hostNS := vlanDoors(t, "backend0")
	wire := openWire(t, hostNS, "wire0")
	answered := func(text string) func([]byte) bool {
		return func(f []byte) bool {
			return bytes.HasSuffix(f, []byte("Contoso: "+text)) && bytes.Equal(f[26:30], vlanProvider.AsSlice())
		}
	}
	wire.send(t, tagged(vmAsks(vlanHost, vlanProvider, "in VLAN 7"), 0, 7))
	wire.receive(t, answered("in VLAN 7"))
	wire.send(t, tagged(vmAsks(vlanHost, vlanProvider, "in VLAN 7, with priority"), 0xa0, 7))
	wire.receive(t, answered("in VLAN 7, with priority"))
	for i, frame := range [][]byte{
		vmAsks(vlanHost, vlanProvider, "untagged"), tagged(vmAsks(vlanHost, vlanProvider, "in VLAN 8"), 0, 8),
		tagged(vmAsks(vlanHost, provider, "tagged to the untagged address"), 0, 7),
	} {
		wire.send(t, frame)
		testenv.Eventually(t, "a frame in a wrong VLAN to be dropped", func() bool {
			all, err := d.Drops()
			if err != nil {
				t.Fatal(err)
			}
			for _, drop := range all {
				if drop.Reason == "wrong-vlan" {
					return drop.Packets == uint64(i+1)
				}
			}
			return false
		})
	}
}

// addVLAN puts a device for VLAN 7 on a link.
func addVLAN(t testing.TB, ns *netns.Namespace, link, name string) {
	t.Helper()
	h := handle(t, ns)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = name, up(t, h, link).Attrs().Index
	if err := h.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: 7}); err != nil {
		t.Fatalf("add VLAN device %s: %v", name, err)
	}
	up(t, h, name)
}
