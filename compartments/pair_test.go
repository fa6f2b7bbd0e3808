package compartments_test

import (
	"errors"
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
