package fib

import (
	"fmt"
	"net/netip"
	"testing"
)

// many are n prefixes of 24 bits by a next hop.
func many(n int, hops ...string) []Route {
	routes := make([]Route, n)
	for i := range routes {
		routes[i] = route("10.0.0.0/24", hops...)
		routes[i].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 0}), 24)
	}
	return routes
}

// BenchmarkTable tells what each kind of change of all routes costs, in routes a second, the kernel's work included.
func BenchmarkTable(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		one, other, gone := many(n, "10.1.0.1"), many(n, "10.2.0.1"), many(n)
		update := func(routes []Route) func(*Table) { return func(t *Table) { t.Update(routes) } }
		down := func(links ...string) func(*Table) { return func(t *Table) { t.SetDown(links) } }
		nothing := func(*Table) {}
		for _, c := range []struct {
			name                  string
			guard                 bool
			prepare, change, undo func(*Table)
		}{
			{"install", false, nothing, update(one), update(gone)},
			{"replace", false, update(one), update(other), update(one)},
			{"withdraw", false, update(one), update(gone), update(one)},
			{"withdrawGuarded", true, update(one), update(gone), update(one)},
			{"tunnelDown", false, update(one), down("IfWe1"), down()},
			{"readAll", false, update(one), func(t *Table) { t.hear(news{all: true}); t.rouse() }, nothing},
		} {
			b.Run(fmt.Sprintf("%s/%dk", c.name, n/1000), func(b *testing.B) {
				t := open(b, compartment(b), c.guard)
				c.prepare(t)
				flush(b, t)
				for b.Loop() {
					c.change(t)
					flush(b, t)
					b.StopTimer()
					c.undo(t)
					flush(b, t)
					b.StartTimer()
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "routes/s")
			})
		}
	}
}
