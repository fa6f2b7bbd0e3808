package gateway

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"bulkhead/internal/testenv"
)

// wantNIC waits until the NIC is up, has the address and the route, and its door stands on it.
func wantNIC(t *testing.T, name, address, route string) {
	t.Helper()
	testenv.Eventually(t, name+" is as declared, with its door", func() bool {
		nic, err := netlink.LinkByName(name)
		if err != nil {
			return false
		}
		addresses, err := netlink.AddrList(nic, netlink.FAMILY_V4)
		must(t, err)
		routes, err := netlink.RouteList(nic, netlink.FAMILY_V4)
		must(t, err)
		doors, err := link.QueryPrograms(link.QueryOptions{Target: nic.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		must(t, err)
		routed := false
		for _, r := range routes {
			routed = routed || r.Dst.String() == route
		}
		return len(addresses) == 1 && addresses[0].IPNet.String() == address && routed && len(doors.Programs) == 1
	})
}

func TestNICThatComesBackIsAsDeclaredAgain(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	d.apply(t, contoso)
	backend := func() { t.Helper(); wantNIC(t, "backend0", "192.168.0.11/24", "192.168.0.0/24") }
	external := func() { t.Helper(); wantNIC(t, "If2", "131.107.10.10/24", "0.0.0.0/0") }
	backend()
	external()

	m.removeLink(t, "backend0")
	m.removeLink(t, "If2")
	m.addNIC(t, "backend0") // it does not wait for the other
	backend()
	m.addNIC(t, "If2")
	external()
	backend()

	t.Run("after it was down", func(t *testing.T) {
		nic, err := netlink.LinkByName("If2")
		must(t, err)
		must(t, netlink.LinkSetDown(nic)) // the kernel forgets its routes
		must(t, netlink.LinkSetUp(nic))
		external()
	})
	d.wantApplied(t, contoso)
}

func TestNICThatGoesWhileAnotherChangeRunsIsNotForgotten(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	d.apply(t, contoso)
	d.applying.Lock() // a change that takes its time
	m.removeLink(t, "If2")
	m.addNIC(t, "If2")
	// Events that nobody reads would fill the socket's buffer, and end the subscription.
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "busy"
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	t.Cleanup(func() { m.removeLink(t, "busy") })
	busy, err := netlink.LinkByName("busy")
	must(t, err)
	for range 2000 {
		must(t, netlink.LinkSetUp(busy))
		must(t, netlink.LinkSetDown(busy))
	}
	d.applying.Unlock()
	wantNIC(t, "If2", "131.107.10.10/24", "0.0.0.0/0")
	m.removeLink(t, "backend0")
	m.addNIC(t, "backend0")
	wantNIC(t, "backend0", "192.168.0.11/24", "192.168.0.0/24")
}

func TestDeclaredAddressOfTheDefaultCompartmentMayChange(t *testing.T) {
	d := newMachine(t).open(t)
	d.apply(t, contoso)
	moved := strings.NewReplacer("192.168.0.11/24", "192.168.8.1/16", "131.107.10.10/24", "131.107.10.9/24").Replace(gatewayYAML)
	must(t, d.take(t.Context(), declareOn(t, moved, contoso)))
	wantNIC(t, "backend0", "192.168.8.1/16", "192.168.0.0/16")
	wantNIC(t, "If2", "131.107.10.9/24", "0.0.0.0/0")
	d.wantApplied(t, contoso)
}
