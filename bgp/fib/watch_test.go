package fib

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/internal/testenv"
)

func TestRoutesFollowTheKernelsOtherRoutes(t *testing.T) {
	ns := compartment(t)
	changed := make(chan struct{}, 100)
	table, err := Open(ns, Options{Sources: []netip.Addr{addr("10.0.254.2")}, Changed: func() { changed <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	table.Update([]Route{route("10.5.0.0/16", "10.9.0.1")})
	flush(t, table)
	expect(t, table, "")
	ipBatch(t, ns, "route add 10.9.0.0/24 via 169.254.0.1 dev IfWe1 onlink proto 177 metric 20")
	testenv.Eventually(t, "the route is there", func() bool { return len(installed(t, ns)) == 1 })
	<-changed
	if got := table.Resolve(addr("10.9.0.1")); !slices.Equal(got, []string{"IfWe1"}) {
		t.Errorf("the next hop is reached by %v", got)
	}
	// A better one by the other tunnel, then none: what BGP has not withdrawn yet is dropped.
	for _, step := range []struct{ change, want string }{
		{"route add 10.9.0.0/24 via 169.254.0.1 dev IfWe2 onlink proto 177 metric 10", "IfWe2 169.254.0.1"},
		{"route del 10.9.0.0/24 metric 10\nroute del 10.9.0.0/24 metric 20", "dropped"},
	} {
		ipBatch(t, ns, step.change)
		want := "10.5.0.0/16 20000 " + step.want + " src 10.0.254.2"
		testenv.Eventually(t, "the route is "+want, func() bool { return slices.Equal(installed(t, ns), []string{want}) })
	}
	// A route inside another changes no space, but what a link's routes are.
	for len(changed) > 0 {
		<-changed
	}
	ipBatch(t, ns, "route add 172.16.0.128/25 via 172.16.0.9 dev lan")
	routes := prefixes("172.16.0.0/24 172.16.0.128/25 2001:db8:16::/64")
	testenv.Eventually(t, "the link has its routes", func() bool { return slices.Equal(table.RoutesOn([]string{"lan"}), routes) })
	<-changed
	if space := table.Space(); slices.ContainsFunc(space, func(p netip.Prefix) bool { return p.Contains(addr("10.9.0.1")) }) {
		t.Errorf("the space still has the next hop: %v", space)
	}
}

func TestWhatSomebodyElseRemovedComesBack(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, true)
	table.Update([]Route{
		route("10.3.0.0/16", "10.1.0.1"), route("10.5.0.0/16", "10.1.0.1", "10.2.0.1"), route("2001:db8:5::/48", "2001:db8:1::1"),
		route("10.4.0.0/16", "10.2.0.1"),
	})
	flush(t, table)
	table.Update([]Route{route("10.4.0.0/16")})
	flush(t, table)
	before := installed(t, ns)
	if len(before) != 4 {
		t.Fatalf("the kernel has %v", before)
	}
	for _, harm := range []string{
		"route del 10.3.0.0/16 metric 20000\nroute del 10.5.0.0/16 metric 20000\nroute del 2001:db8:5::/48 metric 20000",
		"route del unreachable 10.4.0.0/16 metric 4294967293", "nexthop flush",
		"route replace 10.3.0.0/16 via 169.254.0.1 dev IfWe2 onlink proto bgp metric 20000",
		"route add 10.8.0.0/16 via 169.254.0.1 dev IfWe2 onlink proto bgp metric 7",
		// The kernel removes routes with their link or source address, and tells of IPv4's with no word.
		"link set IfWe1 down\nlink set IfWe1 up\nroute replace 10.1.0.1 via 169.254.0.1 dev IfWe1 onlink proto 177 metric 10\n" +
			"route replace 2001:db8:1::1 via fe80::1 dev IfWe1 onlink proto 177 metric 10",
		"address del 10.0.254.2/24 dev IfWi1\naddress add 10.0.254.2/24 dev IfWi1\n" +
			"route replace 10.1.0.1 via 169.254.0.1 dev IfWe1 onlink proto 177 metric 10\n" +
			"route replace 10.2.0.1 via 169.254.0.1 dev IfWe2 onlink proto 177 metric 10",
	} {
		ipBatch(t, ns, harm)
		testenv.Eventually(t, "all is back after: "+harm, func() bool { return slices.Equal(installed(t, ns), before) })
	}
}

func TestWhatAnotherProgramHasAtOurRankIsLeftAlone(t *testing.T) {
	ns := compartment(t)
	ipBatch(t, ns, "route add 10.3.0.0/16 via 169.254.0.1 dev IfWe2 onlink proto static metric 20000")
	table := open(t, ns, false)
	table.Update([]Route{route("10.3.0.0/16", "10.1.0.1"), route("10.4.0.0/16", "10.1.0.1")})
	if err := table.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("the error is %v", err)
	}
	expect(t, table, "10.4.0.0/16 20000 IfWe1 169.254.0.1 src 10.0.254.2")
	if s := table.Stats(); s.Failed != 1 {
		t.Errorf("stats are %+v", s)
	}
	ipBatch(t, ns, "route del 10.3.0.0/16 proto static metric 20000")
	testenv.Eventually(t, "it is ours when it is free", func() bool { return len(installed(t, ns)) == 2 && table.Stats().Failed == 0 })
}

func TestAFailureIsOverWhenItsNextHopIsGone(t *testing.T) {
	ns := compartment(t)
	ipBatch(t, ns, "route add 10.3.0.0/16 via 169.254.0.1 dev IfWe2 onlink proto static metric 20000")
	table := open(t, ns, false)
	table.Update([]Route{route("10.3.0.0/16", "10.1.0.1")})
	if err := table.Flush(t.Context()); err == nil {
		t.Fatal("another program's route was replaced")
	}
	ipBatch(t, ns, "route del 10.1.0.1 proto 177")
	testenv.Eventually(t, "nothing is said to have failed", func() bool {
		s := table.Stats()
		return s.Unresolved == 1 && s.Failed == 0
	})
	if err := table.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOwnChangesAreNoNews(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, true)
	w, err := watch(ns, table.conn.port)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	table.Update(many(1000, "10.1.0.1"))
	flush(t, table)
	table.SetDown([]string{"IfWe1"})
	table.Update(many(1000))
	flush(t, table)
	ipBatch(t, ns, "route add 10.44.0.0/16 via 169.254.0.1 dev IfWe1 onlink")
	// The kernel puts news into the socket before a write returns. That of links that come up is mixed in.
	others := 0
	for err == nil {
		err = w.conn.receive(func(m message) {
			switch r, _ := parseRoute(m.body); {
			case m.kind == unix.RTM_NEWNEXTHOP, m.kind == unix.RTM_DELNEXTHOP, r.protocol == unix.RTPROT_BGP:
				t.Errorf("news of kind %d of our own", m.kind)
			case m.kind == unix.RTM_NEWROUTE && r.prefix == netip.MustParsePrefix("10.44.0.0/16"):
				others++
			}
		})
	}
	if !errors.Is(err, unix.EAGAIN) || others != 1 {
		t.Errorf("%d news of another's change: %v", others, err)
	}
}
