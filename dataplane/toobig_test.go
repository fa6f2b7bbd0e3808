package dataplane

import (
	"errors"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// siteNetwork is a VM, a gateway whose compartment routes, and a site behind another link of the compartment.
//
//	VM (10.0.0.10) IfCi1 -- [doors] -- bridge -- [doors] -- IfCi1 compartment tunnel -- site (10.9.0.5)
type siteNetwork struct {
	vm, gateway *node
	site        *netns.Namespace
}

// newSiteNetwork makes one whose tunnel has the MTU.
func newSiteNetwork(t *testing.T, six bool, mtu int) siteNetwork {
	t.Helper()
	b := siteNetwork{site: testenv.Namespace(t)}
	b.gateway, b.vm = pair(t)
	if six {
		b.gateway.over6(t, 1)
		b.vm.over6(t, 2)
	}
	meet(t, b.gateway, b.vm)
	forward(t, b.gateway.inside)
	addVeth(t, b.gateway.inside, "tunnel", extMAC, b.site, "tunnel", routerMAC)
	configure(t, b.gateway.inside, "tunnel", mtu, []string{"10.9.0.1/24", "fd00:9::1/64"}, nil)
	configure(t, b.site, "tunnel", mtu, []string{"10.9.0.5/24", "fd00:9::5/64"}, []string{"10.0.0.0/24", "fd00::/64"})
	// The link-scope routes above make neighbours of the VM's addresses.
	neighbours(t, b.site, "tunnel", extMAC, addr("10.0.0.10"), addr("fd00::10"), addr("10.9.0.1"), addr("fd00:9::1"))
	neighbours(t, b.gateway.inside, "tunnel", routerMAC, addr("10.9.0.5"), addr("fd00:9::5"))
	h := handle(t, b.vm.inside)
	for _, r := range []string{"10.9.0.0/24", "fd00:9::/64"} {
		dst, err := netlink.ParseIPNet(r)
		if err != nil {
			t.Fatal(err)
		}
		route := &netlink.Route{LinkIndex: up(t, h, "IfCi1").Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}
		if err := h.RouteAdd(route); err != nil {
			t.Fatal(err)
		}
	}
	for _, ca := range []string{"10.9.0.5", "fd00:9::5"} {
		b.vm.tenant.Records = append(b.vm.tenant.Records, Record{
			CA: addr(ca), VSID: 6001, MAC: b.gateway.mac, PA: b.gateway.pa,
		})
	}
	b.vm.set(t, b.vm.tenant)
	return b
}

// pathMTU sends a datagram that is too large for the way until the sender has learnt of it, and is what it has learnt.
func pathMTU(t *testing.T, ns *netns.Namespace, local, remote string, size, want int) {
	t.Helper()
	conn := dial(t, ns, "udp", local, net.JoinHostPort(remote, "9"))
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	level, discover, headers, get := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, 28, unix.IP_MTU
	if addr(remote).Is6() {
		level, discover, headers, get = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, 48, unix.IPV6_MTU
	}
	var mtu int
	if err := errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), level, discover, unix.IP_PMTUDISC_DO)
	}), err); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, local+" learns what the way to "+remote+" admits", func() bool {
		_, sendErr := conn.Write(make([]byte, size-headers)) // an error tells that the last one was too large
		err = raw.Control(func(fd uintptr) { mtu, err = unix.GetsockoptInt(int(fd), level, get) })
		return err != nil || errors.Is(sendErr, unix.EMSGSIZE) && mtu < size
	})
	if err != nil || mtu != want {
		t.Errorf("%s to %s: %d bytes are said to be admitted, want %d (%v)", local, remote, mtu, want, err)
	}
}

func TestSendersLearnWhatIsTooBigInBothDirections(t *testing.T) {
	for name, six := range map[string]bool{"over IPv4": false, "over IPv6": true} {
		t.Run(name, func(t *testing.T) {
			room := compartmentMTU
			if six {
				room -= 20
			}
			t.Run("from the VM into a tunnel", func(t *testing.T) {
				b := newSiteNetwork(t, six, 1400)
				pathMTU(t, b.vm.inside, "10.0.0.10", "10.9.0.5", 1500, 1400)
				pathMTU(t, b.vm.inside, "fd00::10", "fd00:9::5", 1500, 1400)
				transfer(t, b.vm.inside, b.site, "10.0.0.10", "10.9.0.5")
				transfer(t, b.vm.inside, b.site, "fd00::10", "fd00:9::5")
			})
			t.Run("towards the VM", func(t *testing.T) {
				b := newSiteNetwork(t, six, 9000)
				pathMTU(t, b.site, "10.9.0.5", "10.0.0.10", 2000, room)
				pathMTU(t, b.site, "fd00:9::5", "fd00::10", 2000, room)
				transfer(t, b.site, b.vm.inside, "10.9.0.5", "10.0.0.10")
				transfer(t, b.site, b.vm.inside, "fd00:9::5", "fd00::10")
			})
		})
	}
}

func TestAJumboProviderNetworkCarriesPacketsOfItsSize(t *testing.T) {
	const jumbo = 9000
	for name, six := range map[string]bool{"over IPv4": false, "over IPv6": true} {
		t.Run(name, func(t *testing.T) {
			network, join := bridged(t)
			a := newNode(t, network, site{1, 6001, []string{"10.0.254.2/24", "fd00:254::2/64"},
				[]string{"10.0.0.0/24", "fd00::/64"}})
			b := newNode(t, network, site{2, 5001, []string{"10.0.0.10/24", "fd00::10/64"},
				[]string{"10.0.254.0/24", "fd00:254::/64"}})
			join("port1", "port2")
			room := jumbo - 42
			if six {
				room -= 20
				a.over6(t, 1)
				b.over6(t, 2)
			}
			for _, port := range []string{"port1", "port2", "bridge"} {
				configure(t, network, port, jumbo, nil, nil)
			}
			for _, n := range []*node{a, b} {
				configure(t, n.ns, "backend0", jumbo, nil, nil)
				configure(t, n.ns, n.tenant.Interfaces[0].Link, room, nil, nil)
				configure(t, n.inside, "IfCi1", room, nil, nil)
				noSegmentation(t, n.ns) // Every packet on the wire is one of the network's size.
				n.do(t, func() error { return n.SetGateway(Gateway{Backend: "backend0", Providers: on(n.pa)}) })
			}
			meet(t, a, b)
			for _, way := range [][2]string{{"10.0.254.2", "10.0.0.10"}, {"fd00:254::2", "fd00::10"}} {
				before := b.passed(t)
				transfer(t, a.inside, b.inside, way[0], way[1])
				if in, _ := b.meanSizes(t, before); in < jumbo/2 || in > uint64(room)+14 {
					t.Errorf("%s: packets of %d bytes on average arrived, of %d at most", way[0], in, room)
				}
			}
		})
	}
}
