package fib

import (
	"fmt"
	"net/netip"
	"slices"
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
		for _, c := range []struct {
			name                  string
			guard                 bool
			prepare, change, undo func(*Table)
		}{
			{"install", false, nil, func(t *Table) { t.Update(one) }, func(t *Table) { t.Update(gone) }},
			{"replace", false, func(t *Table) { t.Update(one) }, func(t *Table) { t.Update(other) }, func(t *Table) { t.Update(one) }},
			{"withdraw", false, func(t *Table) { t.Update(one) }, func(t *Table) { t.Update(gone) }, func(t *Table) { t.Update(one) }},
			{"withdrawGuarded", true, func(t *Table) { t.Update(one) }, func(t *Table) { t.Update(gone) }, func(t *Table) { t.Update(one) }},
			{"tunnelDown", false, func(t *Table) { t.Update(one) }, func(t *Table) { t.SetDown([]string{"IfWe1"}) }, func(t *Table) { t.SetDown(nil) }},
			{"readAll", false, func(t *Table) { t.Update(one) }, func(t *Table) { t.hear(news{all: true}); t.rouse() }, func(*Table) {}},
		} {
			b.Run(fmt.Sprintf("%s/%dk", c.name, n/1000), func(b *testing.B) {
				t := open(b, compartment(b), c.guard)
				if c.prepare != nil {
					c.prepare(t)
					flush(b, t)
				}
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

var _ = slices.Sort[[]int]
