package nat_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulkhead/internal/watch"
	"bulkhead/nat"
)

var byValue = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func TestUnchangedSetWritesNothingAndKeepsCountersAndSessions(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	serve(t, n.internet, "tcp", at(web, 80))
	c, err := dial(t, n.vm, "tcp", at(vmAddr, 40000), at(web, 80))
	must(t, err)
	datagram(t, n, at(web, 50000), at(public, 9))
	wantDropped(t, n, "from-internet", 1)
	before := sessions(t, n)
	watch.Quiet(t, func() { set(t, n, tenant()) }, n.gw)
	wantDropped(t, n, "from-internet", 1)
	if diff := cmp.Diff(before, sessions(t, n), byValue); diff != "" {
		t.Error(diff)
	}
	if got, err := ask(t, c); err != nil || got != at(public, 40000) {
		t.Errorf("the session is seen as %v, %v", got, err)
	}
}

func TestChangedSetKeepsCountersAndTheSessionsThatAreStillDeclared(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	serve(t, n.internet, "tcp", at(web, 80))
	serve(t, n.server, "tcp", at(srvAddr, 8443))
	serve(t, n.server, "udp", at(srvAddr, 5353))
	out, err := dial(t, n.vm, "tcp", at(vmAddr, 40000), at(web, 80))
	must(t, err)
	in, err := dial(t, n.internet, "tcp", at(web, 50000), at(public, 443))
	must(t, err)
	seenAs(t, n.internet, "udp", at(web, 50001), at(public, 53))
	datagram(t, n, at(web, 50002), at(public, 9))
	wantDropped(t, n, "from-internet", 1)
	before := sessions(t, n)

	c := tenant()
	udp := c.Mappings[1]
	c.Mappings[1] = nat.Mapping{
		Protocol: nat.TCP, External: at(public, 8080), Internal: at(srvAddr, 8443),
	}
	c.Addresses = append(c.Addresses, nat.Address{Address: netip.MustParseAddr("131.107.10.14")})
	set(t, n, c)
	wantDropped(t, n, "from-internet", 1)
	if diff := cmp.Diff(before[:2], sessions(t, n), byValue); diff != "" {
		t.Errorf("the TCP sessions should be as before and the one of %v gone: %s", udp.External, diff)
	}
	for conn, want := range map[net.Conn]netip.AddrPort{out: at(public, 40000), in: at(web, 50000)} {
		if got, err := ask(t, conn); err != nil || got != want {
			t.Errorf("a standing session is seen as %v, %v; want %v", got, err, want)
		}
	}
	if got := seenAs(t, n.internet, "tcp", at(web, 50003), at(public, 8080)); got != at(web, 50003) {
		t.Errorf("the new mapping's server sees %v", got)
	}
	datagram(t, n, at(web, 50001), at(public, 53))
	wantDropped(t, n, "from-internet", 2)
}

func TestWithdrawnAddressEndsItsSessions(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	serve(t, n.internet, "udp", at(web, 80))
	serve(t, n.internet, "udp", at(web6, 80))
	seenAs(t, n.vm, "udp", at(vmAddr, 40000), at(web, 80))
	seenAs(t, n.vm, "udp", at(vmAddr6, 40000), at(web6, 80))
	c := tenant()
	c.Addresses[0].Address = netip.MustParseAddr("131.107.10.14")
	set(t, n, c)
	left := sessions(t, n)
	if len(left) != 1 || left[0].Source.Addr() != vmAddr6 {
		t.Errorf("sessions are %+v, want only the one of IPv6", left)
	}
	if got := seenAs(t, n.vm, "udp", at(vmAddr, 40000), at(web, 80)); got.Addr() != c.Addresses[0].Address {
		t.Errorf("the server sees %v, want the new address", got)
	}
}

func TestZeroConfigRemovesEverything(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	serve(t, n.internet, "udp", at(web, 80))
	seenAs(t, n.vm, "udp", at(vmAddr, 40000), at(web, 80))
	set(t, n, nat.Config{})
	if d, err := nat.Drops(n.gw); err != nil || len(d) != 0 {
		t.Errorf("counters are left: %v, %v", d, err)
	}
	if left := sessions(t, n); len(left) != 0 {
		t.Errorf("sessions are left: %v", left)
	}
	watch.Quiet(t, func() { set(t, n, nat.Config{}) }, n.gw)
}

func TestForgetEndsTheTranslatedSessionsToAPrefixAndNoOthers(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	other := netip.MustParseAddr("66.10.10.66")
	addresses(t, n.internet, "wan", "66.10.10.66/32")
	for _, server := range []netip.Addr{web, other} {
		serve(t, n.internet, "udp", at(server, 80))
		seenAs(t, n.vm, "udp", at(vmAddr, 40000), at(server, 80))
	}
	serve(t, n.server, "tcp", at(srvAddr, 8443))
	in, err := dial(t, n.internet, "tcp", at(web, 50000), at(public, 443))
	must(t, err)
	// The prefix covers a destination, the public address itself, and the source of a mapped session.
	gone := []netip.Prefix{
		netip.MustParsePrefix("65.10.10.0/24"), netip.MustParsePrefix("2001:db8::/32"),
		netip.PrefixFrom(public, 32),
	}
	for _, want := range []int{1, 0} {
		if got, err := nat.Forget(t.Context(), n.gw, gone); err != nil || got != want {
			t.Errorf("Forget ended %d sessions, %v; want %d", got, err, want)
		}
	}
	left := sessions(t, n)
	if len(left) != 2 || left[1].Destination != at(other, 80) {
		t.Errorf("sessions are %+v", left)
	}
	if got, err := ask(t, in); err != nil || got != at(web, 50000) {
		t.Errorf("the mapped session is seen as %v, %v", got, err)
	}
}

func TestBadConfigIsRefusedWholeAndNamed(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	c := tenant()
	c.Link = ""
	c.Addresses = append(c.Addresses, nat.Address{}, nat.Address{Address: public, First: 9, Last: 8},
		nat.Address{Address: public, First: 0, Last: 8})
	c.Mappings = append(c.Mappings, c.Mappings[0],
		nat.Mapping{Protocol: "SCTP", External: at(public, 1), Internal: at(srvAddr, 1)},
		nat.Mapping{Protocol: nat.UDP, External: at(public, 2), Internal: at(srvAddr6, 1)},
		nat.Mapping{Protocol: nat.UDP, External: at(public, 3)},
	)
	err := nat.Set(t.Context(), n.gw, c)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"the link towards the Internet is missing", "ports 9-8", "ports 0-8", "invalid IP with ports 0-0",
		"mapping TCP 131.107.10.12:443: mapped twice", "mapping SCTP 131.107.10.12:1: the protocol",
		"mapping UDP 131.107.10.12:2 to [fd00::100]:1: the address families differ",
		"mapping UDP 131.107.10.12:3 to invalid AddrPort: both need",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	watch.Quiet(t, func() { set(t, n, tenant()) }, n.gw)
}

// sessions lists the sessions without what changes by itself.
func sessions(t *testing.T, n network) []nat.Session {
	t.Helper()
	all, err := nat.Sessions(n.gw)
	must(t, err)
	for i := range all {
		all[i].Timeout = 0
	}
	return all
}
