package bench_test

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/filters"
)

// BenchmarkFilters compares small packets through the compartment of 500 filtered links with those through one that
// filters the same two links alone (x_one), and none (x_none): what two hooks, two lookups by name and ten rules cost.
func BenchmarkFilters(b *testing.B) {
	const others = 498
	for b.Loop() {
		var all []*contender
		for _, c := range []struct {
			name string
			list []filters.Filter
		}{{"many", append(filtered(others), filteredWay()...)}, {"one", filteredWay()}, {"none", nil}} {
			f := newFabric(b, joinNVGRE(10))
			must(b, "set filters", filters.Set(b.Context(), f.compartment.Namespace, c.list))
			all = append(all, contend(c.name, f.decapGenerator(b), smallSlice))
		}
		alternate(b, smallEffort, all)
		compare(b, "Mpps", 1e-6, all)
	}
}

// filteredWay filters the two links that the packets pass; their rule is the last of its list.
func filteredWay() []filters.Filter {
	rules := append(filterRules(4), filters.Rule{
		Source: netip.PrefixFrom(vmCA, 32), Destination: clientNet, Protocol: unix.IPPROTO_UDP, Text: "the packets'",
	})
	return []filters.Filter{{Link: "IfCi1", Arriving: true, Rules: rules}, {Link: "ext0", Rules: rules}}
}

// filtered filters so many other links.
func filtered(links int) (all []filters.Filter) {
	for i := range links {
		all = append(all, filters.Filter{Link: fmt.Sprintf("IfCe%d", i), Arriving: true, Rules: filterRules(5)})
	}
	return all
}

func filterRules(n int) (rules []filters.Rule) {
	for i := range uint16(n) {
		rules = append(rules, filters.Rule{
			Protocol: unix.IPPROTO_TCP, DestinationPorts: filters.Ports{First: 1 + i, Last: 1 + i}, Text: fmt.Sprintf("rule %d", i),
		})
	}
	return rules
}
