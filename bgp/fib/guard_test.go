package fib

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/internal/testenv"
)

// Law 1. Seen by what the kernel tells, in order.
func TestAWithdrawnPrefixIsUnreachableBeforeItsRouteGoes(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, true)
	table.Update([]Route{route("203.0.113.0/24", "10.1.0.1"), route("2001:db8:5::/48", "2001:db8:1::1")})
	flush(t, table)
	c, err := dial(ns, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	type change struct {
		kind   uint16
		prefix netip.Prefix
		metric uint32
	}
	told := func(n int) (changes []change) {
		for len(changes) < n {
			err := c.receive(func(m message) {
				if r, ok := parseRoute(m.body); ok && r.protocol == unix.RTPROT_BGP {
					changes = append(changes, change{m.kind, r.prefix, r.metric})
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return changes
	}
	before := func(changes []change, first, second change) {
		t.Helper()
		if a, b := slices.Index(changes, first), slices.Index(changes, second); a < 0 || b < 0 || a > b {
			t.Errorf("%v does not come before %v in %v", first, second, changes)
		}
	}
	v4, v6 := netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:5::/48")
	table.Update([]Route{{Prefix: v4}, {Prefix: v6}})
	flush(t, table)
	changes := told(4)
	for _, p := range []netip.Prefix{v4, v6} {
		before(changes, change{unix.RTM_NEWROUTE, p, MetricWithdrawn}, change{unix.RTM_DELROUTE, p, MetricExternal})
	}
	expect(t, table, "203.0.113.0/24 4294967293 unreachable\n2001:db8:5::/48 4294967293 unreachable")
	if s, _ := table.Lookup(v4); !s.Withdrawn || table.Stats().Withdrawn != 2 {
		t.Errorf("the state is %+v, the stats %+v", s, table.Stats())
	}

	table.Update([]Route{route("203.0.113.0/24", "10.1.0.1"), route("2001:db8:5::/48", "2001:db8:1::1")})
	flush(t, table)
	changes = told(4)
	for _, p := range []netip.Prefix{v4, v6} {
		before(changes, change{unix.RTM_NEWROUTE, p, MetricExternal}, change{unix.RTM_DELROUTE, p, MetricWithdrawn})
	}
	if n := table.Stats().Withdrawn; n != 0 {
		t.Errorf("%d are withdrawn", n)
	}
}

func TestWithoutAWayToTheInternetWithdrawnPrefixesJustGo(t *testing.T) {
	table := open(t, compartment(t), true)
	table.Update([]Route{route("10.3.0.0/16", "10.1.0.1"), route("10.4.0.0/16", "10.1.0.1")})
	flush(t, table)
	table.Update([]Route{route("10.3.0.0/16")})
	flush(t, table)
	table.SetOptions([]netip.Addr{addr("10.0.254.2"), addr("2001:db8::2")}, false, false)
	table.Update([]Route{route("10.4.0.0/16")})
	flush(t, table)
	expect(t, table, "")
}

// A site that takes over with a wider prefix is not cut off by a narrower one that was withdrawn.
func TestAWithdrawnPrefixIsOpenToWiderRoutesButNotToTheInternet(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, true)
	table.Update([]Route{route("10.3.1.0/24", "10.1.0.1"), route("10.3.2.0/24", "10.1.0.1"), route("10.4.1.0/24", "10.1.0.1")})
	flush(t, table)
	table.Update([]Route{route("10.3.1.0/24"), route("10.4.1.0/24")})
	flush(t, table)
	expect(t, table, `10.3.1.0/24 4294967293 unreachable
		10.3.2.0/24 20000 IfWe1 169.254.0.1 src 10.0.254.2
		10.4.1.0/24 4294967293 unreachable`)
	// A wider route by BGP comes: what it covers is open, what is withdrawn now is not refused at all.
	table.Update([]Route{route("10.3.0.0/16", "10.2.0.1")})
	flush(t, table)
	table.Update([]Route{route("10.3.2.0/24")})
	flush(t, table)
	expect(t, table, `10.3.0.0/16 20000 IfWe2 169.254.0.1 src 10.0.254.2
		10.4.1.0/24 4294967293 unreachable`)
	// It goes, and all is shut.
	table.Update([]Route{route("10.3.0.0/16")})
	flush(t, table)
	expect(t, table, `10.3.0.0/16 4294967293 unreachable
		10.3.1.0/24 4294967293 unreachable
		10.3.2.0/24 4294967293 unreachable
		10.4.1.0/24 4294967293 unreachable`)
	// So with a route that somebody declared, and went.
	for range 2 {
		ipBatch(t, ns, "route add 10.4.0.0/16 via 169.254.0.1 dev IfWe2 onlink proto 177 metric 10")
		testenv.Eventually(t, "10.4.1.0/24 is open", func() bool { return len(installed(t, ns)) == 3 })
		ipBatch(t, ns, "route del 10.4.0.0/16 metric 10")
		testenv.Eventually(t, "10.4.1.0/24 is shut", func() bool { return len(installed(t, ns)) == 4 })
	}
}

// A site that declares the default route is a way for what others withdraw, and the Internet is shut with it.
func TestAWithdrawnPrefixIsOpenToTheDefaultRouteOfASite(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, true)
	table.Update([]Route{route("203.0.113.0/24", "10.1.0.1"), route("2001:db8:5::/48", "2001:db8:1::1")})
	flush(t, table)
	table.Update([]Route{route("203.0.113.0/24"), route("2001:db8:5::/48")})
	flush(t, table)
	expect(t, table, "203.0.113.0/24 4294967293 unreachable\n2001:db8:5::/48 4294967293 unreachable")
	ipBatch(t, ns, `route add unreachable default proto 177 metric 4294967294
		route add default via 169.254.0.1 dev IfWe2 onlink src 10.0.254.2 proto 177 metric 10`)
	testenv.Eventually(t, "the prefix is open, and that of the other family is not", func() bool {
		return slices.Equal(installed(t, ns), []string{"2001:db8:5::/48 4294967293 unreachable"})
	})
	ipBatch(t, ns, "route del default metric 10\nroute del default metric 4294967294")
	testenv.Eventually(t, "the prefix is shut", func() bool { return len(installed(t, ns)) == 2 })
}

// A default route that a site told and withdrew keeps the Internet shut for as long as peers may tell one.
func TestAWithdrawnDefaultRouteShutsTheInternetUntilNoPeerMayTellOne(t *testing.T) {
	table := open(t, compartment(t), true)
	sources := []netip.Addr{addr("10.0.254.2"), addr("2001:db8::2")}
	defaults := []Route{route("0.0.0.0/0", "10.1.0.1"), route("0.0.0.0/1", "10.1.0.1"), route("::/0", "2001:db8:1::1")}
	table.SetOptions(sources, true, true)
	table.Update(append(defaults, route("203.0.113.0/24", "10.1.0.1")))
	flush(t, table)
	table.Update([]Route{route("203.0.113.0/24"), route("0.0.0.0/0"), route("0.0.0.0/1")})
	flush(t, table)
	expect(t, table, `0.0.0.0/0 4294967293 unreachable
		0.0.0.0/1 4294967293 unreachable
		203.0.113.0/24 4294967293 unreachable
		::/0 20000 IfWe1 fe80::1 src 2001:db8::2`)
	table.SetOptions(sources, true, false)
	table.Update([]Route{route("::/0")})
	flush(t, table)
	expect(t, table, "203.0.113.0/24 4294967293 unreachable")
}

func TestTooManyWithdrawnPrefixesPushTheOldestOut(t *testing.T) {
	table := open(t, compartment(t), true)
	table.mu.Lock()
	table.withdrawn.most = 100
	table.mu.Unlock()
	table.Update(append(many(150, "10.1.0.1"), route("203.0.113.0/24", "10.1.0.1")))
	flush(t, table)
	table.Update([]Route{route("203.0.113.0/24")})
	flush(t, table)
	table.Update(many(150))
	flush(t, table)
	if s := table.Stats(); s.Withdrawn != 100 || s.Forgotten != 51 {
		t.Errorf("stats are %+v", s)
	}
	left := installed(t, table.ns)
	if len(left) != 100 || slices.Contains(left, "203.0.113.0/24 4294967293 unreachable") {
		t.Errorf("%d prefixes are unreachable: %v", len(left), left)
	}
}

// The kernel removes the routes of a link that goes, and does not tell.
func TestPrefixesOfALinkThatGoesAreUnreachable(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, true)
	table.Update([]Route{
		route("10.3.0.0/16", "10.1.0.1"), route("10.5.0.0/16", "10.1.0.1", "10.2.0.1"), route("2001:db8:5::/48", "2001:db8:1::1"),
	})
	flush(t, table)
	ipBatch(t, ns, "link del IfWe1")
	want := []string{
		"10.3.0.0/16 4294967293 unreachable", "10.5.0.0/16 20000 IfWe2 169.254.0.1 src 10.0.254.2",
		"2001:db8:5::/48 4294967293 unreachable",
	}
	testenv.Eventually(t, "what went by the link is unreachable", func() bool { return slices.Equal(installed(t, ns), want) })
}

func TestRoutesOfAPredecessorStayUntilTheyAreToldOrSwept(t *testing.T) {
	ns := compartment(t)
	first := open(t, ns, true)
	told := []Route{
		route("10.3.0.0/16", "10.1.0.1"), route("10.5.0.0/16", "10.1.0.1", "10.2.0.1"), route("2001:db8:5::/48", "2001:db8:1::1"),
		route("10.6.0.0/16", "10.1.0.1"), route("10.7.0.0/16", "10.1.0.1"),
	}
	first.Update(told)
	flush(t, first)
	first.Update([]Route{route("10.7.0.0/16")})
	flush(t, first)
	before := installed(t, ns)
	first.Close()

	came := make(chan []netip.Prefix, 10)
	second, err := Open(ns, Options{Installed: func(p []netip.Prefix) { came <- p }}) // as long as nobody has told what to be
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if told := <-came; len(told) != 4 { // The first may have died before it told.
		t.Errorf("told to have come in are %v", told)
	}
	flush(t, second)
	if have := installed(t, ns); !slices.Equal(have, before) {
		t.Errorf("before it knows its options it changed what was there: %v, want %v", have, before)
	}
	if s := second.Stats(); s.Stale != 4 || s.Withdrawn != 1 {
		t.Errorf("stats are %+v", s)
	}
	second.SetOptions([]netip.Addr{addr("10.0.254.2"), addr("2001:db8::2")}, true, false)
	second.Update(told[:2])
	flush(t, second)
	if have := installed(t, ns); !slices.Equal(have, before) {
		t.Errorf("the kernel has %v, want %v", have, before)
	}
	if s := second.Stats(); s.Writes != 0 || s.Stale != 2 {
		t.Errorf("what is told again as it was is written again: %+v", s)
	}
	second.SweepStale()
	flush(t, second)
	expect(t, second, `10.3.0.0/16 20000 IfWe1 169.254.0.1 src 10.0.254.2
		10.5.0.0/16 20000 IfWe1 169.254.0.1 IfWe2 169.254.0.1 src 10.0.254.2
		10.6.0.0/16 4294967293 unreachable
		10.7.0.0/16 4294967293 unreachable
		2001:db8:5::/48 4294967293 unreachable`)
	second.KeepStale()
	second.Update(told[:1])
	second.SweepStale()
	flush(t, second)
	if s := second.Stats(); s.IPv4 != 1 || s.Stale != 0 || s.Withdrawn != 4 {
		t.Errorf("stats are %+v", s)
	}
}

func TestSweepRemovesAllThatBGPLeftAndNothingElse(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, true)
	table.Update(append(many(3000, "10.1.0.1"), route("10.5.0.0/16", "10.1.0.1", "10.2.0.1"), route("2001:db8:5::/48", "2001:db8:1::1")))
	flush(t, table)
	table.Update(many(1500))
	flush(t, table)
	table.Close()
	ipBatch(t, ns, `route add 10.8.0.0/16 via 169.254.0.1 dev IfWe2 onlink proto bgp metric 7
		route add 10.9.0.0/16 via 169.254.0.1 dev IfWe2 onlink proto static metric 20000
		nexthop add id 5 via 169.254.0.1 dev IfWe2 onlink`)
	for range 2 {
		if err := Sweep(t.Context(), ns); err != nil {
			t.Fatal(err)
		}
	}
	if left := installed(t, ns); len(left) > 0 {
		t.Errorf("there is left %v", left)
	}
	ipBatch(t, ns, "route del 10.9.0.0/16 proto static metric 20000\nroute del 10.1.0.1 proto 177 metric 10\nnexthop del id 5")
	c, err := dial(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	r := &reading{}
	if err := (&Table{conn: c}).readObjects(r); err != nil || len(r.objects) > 0 {
		t.Errorf("nexthop objects are left: %v, %v", r.objects, err)
	}
}
