package fib

import (
	"net/netip"
	"slices"
	"testing"

	"bulkhead/internal/testenv"
)

// The kernel removes IPv4 routes with the address that is their source, and takes none with one that is not there.
func TestPrefixesWhoseSourceAddressGoesAreUnreachableUntilThereIsAnother(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, true)
	table.Update([]Route{route("203.0.113.0/24", "10.1.0.1")})
	flush(t, table)
	ipBatch(t, ns, `address add 10.0.253.2/24 dev IfWi1
		route replace 10.1.0.1 via 169.254.0.1 dev IfWe1 onlink src 10.0.253.2 proto 177 metric 10
		address del 10.0.254.2/24 dev IfWi1`)
	testenv.Eventually(t, "the prefix is unreachable", func() bool {
		return slices.Equal(installed(t, ns), []string{"203.0.113.0/24 4294967293 unreachable"})
	})
	table.SetOptions([]netip.Addr{addr("10.0.253.2"), addr("2001:db8::2")}, true, false)
	flush(t, table)
	expect(t, table, "203.0.113.0/24 20000 IfWe1 169.254.0.1 src 10.0.253.2")
}

// As while peers have not told theirs after a graceful restart.
func TestStaleRoutesOfALinkThatGoesAreUnreachable(t *testing.T) {
	ns := compartment(t)
	table := open(t, ns, true)
	table.Update([]Route{route("203.0.113.0/24", "10.1.0.1"), route("198.51.100.0/24", "10.2.0.1")})
	flush(t, table)
	table.KeepStale()
	ipBatch(t, ns, "link del IfWe1")
	want := []string{"198.51.100.0/24 20000 IfWe2 169.254.0.1 src 10.0.254.2", "203.0.113.0/24 4294967293 unreachable"}
	testenv.Eventually(t, "what went by the link is unreachable", func() bool { return slices.Equal(installed(t, ns), want) })
	table.Update([]Route{route("203.0.113.0/24", "10.2.0.1")})
	flush(t, table)
	expect(t, table, `198.51.100.0/24 20000 IfWe2 169.254.0.1 src 10.0.254.2
		203.0.113.0/24 20000 IfWe2 169.254.0.1 src 10.0.254.2`)
}
