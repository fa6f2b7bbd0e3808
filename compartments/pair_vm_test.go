//go:build vm

// These tests need netkit, which not every kernel has; they run in the virtual machine.

package compartments_test

import (
	"errors"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/internal/watch"
)

func TestNothingLeavesACompartmentByANetkitPairWithoutADoor(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	must(t, ns.Do(func() error {
		conn, err := net.Dial("udp4", "10.0.0.10:7")
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("hello")) // ENOBUFS tells the sender of the drop.
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
		return nil
	}))
	inside, err := handle(t, ns).LinkByName("IfCi1")
	must(t, err)
	end, err := handle(t, g.def).LinkByName("bhi6001")
	must(t, err)
	if sent, got := inside.Attrs().Statistics, end.Attrs().Statistics; sent.TxDropped == 0 || got.RxPackets > 0 {
		t.Errorf("%d packets were dropped, %d came through", sent.TxDropped, got.RxPackets)
	}
}

func TestANetkitPairThatNoDoorCouldGuardIsMadeAnew(t *testing.T) {
	for name, wrong := range map[string]func(n *netlink.Netkit, there *netlink.LinkAttrs){
		// Programs are attached by way of the primary end, which must be the door's.
		"primary end inside": func(n *netlink.Netkit, there *netlink.LinkAttrs) {
			n.LinkAttrs, *there = *there, n.LinkAttrs
			n.Policy, n.PeerPolicy = n.PeerPolicy, n.Policy
		},
		"open without a program": func(n *netlink.Netkit, _ *netlink.LinkAttrs) {
			n.PeerPolicy = netlink.NETKIT_POLICY_FORWARD
		},
		"marks pass":       func(n *netlink.Netkit, _ *netlink.LinkAttrs) { n.PeerScrub = netlink.NETKIT_SCRUB_NONE },
		"without Ethernet": func(n *netlink.Netkit, _ *netlink.LinkAttrs) { n.Mode = netlink.NETKIT_MODE_L3 },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			ns := g.ensure(t, "Contoso")
			n := &netlink.Netkit{
				LinkAttrs: netlink.NewLinkAttrs(), PeerPolicy: netlink.NETKIT_POLICY_BLACKHOLE,
				Scrub: netlink.NETKIT_SCRUB_DEFAULT, PeerScrub: netlink.NETKIT_SCRUB_DEFAULT,
			}
			there := netlink.NewLinkAttrs()
			n.Name, there.Name = "bhi6001", "IfCi1"
			there.Namespace = netlink.NsFd(ns.Fd())
			wrong(n, &there)
			n.SetPeerAttrs(&there)
			must(t, handle(t, g.def).LinkAdd(n))
			before := link(g.state(t, ns), "IfCi1").Index
			g.set(t, ns, onePair(t))
			if l := link(g.state(t, ns), "IfCi1"); l.Index == before || l.Kind != "netkit" || !l.Up {
				t.Errorf("IfCi1 is %+v, had index %d", l, before)
			}
			end, err := handle(t, g.def).LinkByName("bhi6001")
			must(t, err)
			if n, ok := end.(*netlink.Netkit); !ok || !n.IsPrimary() || n.PeerPolicy != netlink.NETKIT_POLICY_BLACKHOLE {
				t.Errorf("bhi6001 is %+v", end)
			}
			watch.Quiet(t, func() { g.set(t, ns, onePair(t)) }, ns, g.def)
		})
	}
}
