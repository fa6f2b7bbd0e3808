package fib

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulkhead/internal/testenv"
)

// expect compares BGP's routes in the kernel, both families, with lines of the wanted ones.
func expect(t *testing.T, table *Table, want string) {
	t.Helper()
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	if have := installed(t, table.ns); !slices.Equal(have, lines) {
		t.Errorf("the kernel has\n\t%s\nwant\n\t%s", strings.Join(have, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

func TestRoutesGoByWhatTheirNextHopsResolveTo(t *testing.T) {
	table := open(t, compartment(t), false)
	inner := route("10.4.0.0/16", "10.2.0.1")
	inner.Internal = true
	table.Update([]Route{
		route("10.3.0.0/16", "10.1.0.1"), inner, route("10.5.0.0/16", "10.2.0.1", "10.1.0.1"),
		route("10.6.0.0/16", "10.9.9.9"), route("10.7.0.0/16", "10.1.0.1", "10.9.9.9"), route("0.0.0.0/0", "10.1.0.1"),
		route("2001:db8:5::/48", "2001:db8:1::1"),
	})
	flush(t, table)
	expect(t, table, `10.3.0.0/16 20000 IfWe1 169.254.0.1 src 10.0.254.2
		10.4.0.0/16 20200 IfWe2 169.254.0.1 src 10.0.254.2
		10.5.0.0/16 20000 IfWe1 169.254.0.1 IfWe2 169.254.0.1 src 10.0.254.2
		10.7.0.0/16 20000 IfWe1 169.254.0.1 src 10.0.254.2
		0.0.0.0/0 20000 IfWe1 169.254.0.1 src 10.0.254.2
		2001:db8:5::/48 20000 IfWe1 fe80::1 src 2001:db8::2`)
	s := table.Stats()
	if s.IPv4 != 5 || s.IPv6 != 1 || s.Unresolved != 1 {
		t.Errorf("stats are %+v", s)
	}
	if s, ok := table.Lookup(netip.MustParsePrefix("10.6.0.0/16")); !ok || s.Installed || len(s.Links) > 0 {
		t.Errorf("a prefix whose next hop resolves to nothing: %+v, known %v", s, ok)
	}
	if s, _ := table.Lookup(netip.MustParsePrefix("10.5.0.0/16")); !s.Installed || !slices.Equal(s.Links, []string{"IfWe1", "IfWe2"}) {
		t.Errorf("a prefix by two tunnels: %+v", s)
	}

	// Another peer's class, and another way: the new route comes, then the old one goes.
	inner.Internal = false
	table.Update([]Route{inner, route("10.3.0.0/16", "10.2.0.1"), route("10.5.0.0/16"), route("10.7.0.0/16"), route("0.0.0.0/0")})
	flush(t, table)
	expect(t, table, `10.3.0.0/16 20000 IfWe2 169.254.0.1 src 10.0.254.2
		10.4.0.0/16 20000 IfWe2 169.254.0.1 src 10.0.254.2
		2001:db8:5::/48 20000 IfWe1 fe80::1 src 2001:db8::2`)
	if err := table.Withdraw(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, table, "")
	if left := len(table.objects.byID); left != 0 {
		t.Errorf("%d nexthop objects are left", left)
	}
}

// RFC 8950, and ::ffff:10.1.0.1 for a peer that has no address of IPv6.
func TestNextHopsOfTheOtherFamilyNameALink(t *testing.T) {
	table := open(t, compartment(t), false)
	table.Update([]Route{
		route("10.3.0.0/16", "2001:db8:1::1"), route("2001:db8:5::/48", "10.2.0.1"), route("2001:db8:6::/48", "10.2.0.1", "2001:db8:1::1"),
		route("10.4.0.0/16", "2001:db8:16::9"), route("2001:db8:7::/48", "172.16.0.9"), route("10.5.0.0/16", "172.16.0.9"),
	})
	flush(t, table)
	expect(t, table, `10.3.0.0/16 20000 IfWe1 169.254.0.1 src 10.0.254.2
		10.4.0.0/16 20000 lan 2001:db8:16::9 src 10.0.254.2
		10.5.0.0/16 20000 lan 172.16.0.9 src 10.0.254.2
		2001:db8:5::/48 20000 IfWe2 fe80::1 src 2001:db8::2
		2001:db8:6::/48 20000 IfWe1 fe80::1 IfWe2 fe80::1 src 2001:db8::2`)
	table.SetDown([]string{"IfWe1", "IfWe2", "lan"})
	flush(t, table)
	expect(t, table, `10.3.0.0/16 20000 dropped src 10.0.254.2
		10.4.0.0/16 20000 dropped src 10.0.254.2
		10.5.0.0/16 20000 dropped src 10.0.254.2
		2001:db8:5::/48 20000 dropped src 2001:db8::2
		2001:db8:6::/48 20000 dropped src 2001:db8::2`)
}

func TestALostTunnelIsOneChangeForAllItsRoutes(t *testing.T) {
	ns := compartment(t)
	ipBatch(t, ns, "route add 10.9.0.0/16 via 169.254.0.1 dev IfWe1 onlink src 10.0.254.2 proto 177 metric 10")
	table := open(t, ns, false)
	routes := many(2000)
	for i := range routes { // as many next hops as routes
		routes[i].NextHops = []netip.Addr{netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})}
	}
	table.Update(routes)
	flush(t, table)
	for _, down := range [][]string{{"IfWe1"}, nil} {
		before := table.Stats().Writes
		table.SetDown(down)
		flush(t, table)
		if writes := table.Stats().Writes - before; writes != 1 {
			t.Errorf("down %v: %d messages to the kernel for %d routes", down, writes, len(routes))
		}
		dropped := strings.Count(strings.Join(installed(t, ns), "\n"), "dropped")
		if want := len(routes) * len(down); dropped != want {
			t.Errorf("down %v: %d routes drop packets, want %d", down, dropped, want)
		}
	}
}

func TestOneOfSeveralWaysIsLostAndComesBack(t *testing.T) {
	table := open(t, compartment(t), false)
	table.Update([]Route{route("10.5.0.0/16", "10.1.0.1", "10.2.0.1")})
	flush(t, table)
	for _, c := range []struct {
		down []string
		want string
	}{
		{[]string{"IfWe2"}, "IfWe1 169.254.0.1"},
		{[]string{"IfWe1", "IfWe2"}, "dropped"},
		{[]string{"IfWe1"}, "IfWe2 169.254.0.1"},
		{nil, "IfWe1 169.254.0.1 IfWe2 169.254.0.1"},
	} {
		table.SetDown(c.down)
		flush(t, table)
		expect(t, table, "10.5.0.0/16 20000 "+c.want+" src 10.0.254.2")
	}
	if n := len(table.objects.byID); n != 3 {
		t.Errorf("%d nexthop objects, want a group and its two members", n)
	}
}

// Law 6: a route of BGP's, however good, is nothing that a next hop resolves through.
func TestNextHopsNeverResolveThroughRoutesOfBGP(t *testing.T) {
	table := open(t, compartment(t), false)
	table.Update([]Route{route("10.9.0.0/16", "10.1.0.1"), route("10.5.0.0/16", "10.9.0.1")})
	flush(t, table)
	expect(t, table, "10.9.0.0/16 20000 IfWe1 169.254.0.1 src 10.0.254.2")
}

func TestSourcesChangeUnderRoutesThatStand(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, false)
	table.Update([]Route{route("10.3.0.0/16", "10.1.0.1"), route("2001:db8:5::/48", "2001:db8:1::1")})
	flush(t, table)
	table.SetOptions([]netip.Addr{addr("10.0.254.3"), addr("2001:db8::2")}, false, false)
	if err := table.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "10.3.0.0/16") {
		t.Errorf("a source address that is not there: the error is %v", err)
	}
	ipBatch(t, ns, "address add 10.0.254.3/24 dev IfWi1")
	want := []string{"10.3.0.0/16 20000 IfWe1 169.254.0.1 src 10.0.254.3", "2001:db8:5::/48 20000 IfWe1 fe80::1 src 2001:db8::2"}
	testenv.Eventually(t, "routes carry the new source", func() bool { return slices.Equal(installed(t, ns), want) })
}

func TestInstalledNamesWhatCameIn(t *testing.T) {
	ns := compartment(t)
	came := make(chan []netip.Prefix, 100)
	table, err := Open(ns, Options{Sources: []netip.Addr{addr("10.0.254.2")}, Installed: func(p []netip.Prefix) { came <- p }})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	routes := many(5000, "10.1.0.1")
	table.Update(routes)
	seen := map[netip.Prefix]int{}
	for len(seen) < len(routes) {
		for _, p := range <-came {
			seen[p]++
		}
	}
	table.Update(many(1, "10.2.0.1")) // came in before
	flush(t, table)
	table.Update([]Route{route("10.77.0.0/16", "10.1.0.1")})
	if got := <-came; !slices.Equal(got, prefixes("10.77.0.0/16")) {
		t.Errorf("the second time it is %v", got)
	}
	for p, n := range seen {
		if n != 1 {
			t.Fatalf("%v was told %d times", p, n)
		}
	}
}
