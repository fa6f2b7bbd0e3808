package compartments_test

import (
	"errors"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/compartments"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
	"bulkhead/internal/watch"
)

// pairKind is the kind of pair that this kernel is expected to give.
func pairKind(t *testing.T) string {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "trial"
	err := handle(t, testenv.Namespace(t)).LinkAdd(&netlink.Netkit{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "veth"
	}
	must(t, err)
	return "netkit"
}

// standing makes a veth pair as an earlier version of the gateway did.
func standing(t *testing.T, g gateway, ns *netns.Namespace, name, end string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = end
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerNamespace = name, netlink.NsFd(ns.Fd())
	must(t, handle(t, g.def).LinkAdd(v))
}

// onePair is a compartment with a single pair.
func onePair(t *testing.T) compartments.Config {
	c := contoso(t)
	c.Links, c.Routes = c.Links[:1], nil
	return c
}

func TestAStandingVethPairIsKeptWhateverTheKernelHas(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	standing(t, g, ns, "IfCi1", "bhi6001")
	before := link(g.state(t, ns), "IfCi1").Index
	g.set(t, ns, onePair(t))
	l := link(g.state(t, ns), "IfCi1")
	if l.Index != before || l.Kind != "veth" || !l.Up || l.MTU != 1558 || l.MAC != "60:01:60:01:03:01" {
		t.Errorf("IfCi1 is %+v, had index %d", l, before)
	}
	watch.Quiet(t, func() { g.set(t, ns, onePair(t)) }, ns, g.def)
}

func TestNothingLeavesACompartmentByANetkitPairWithoutADoor(t *testing.T) {
	if pairKind(t) != "netkit" {
		t.Skip("this kernel has no netkit")
	}
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
	if pairKind(t) != "netkit" {
		t.Skip("this kernel has no netkit")
	}
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
