package fib

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/internal/testenv"
)

// TestTheKernelComesToWhatWasDecidedLast makes changes of all kinds at random, waiting only now and then, and holds the
// kernel against what the last ones come to.
func TestTheKernelComesToWhatWasDecidedLast(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	ns := compartment(t)
	table := open(t, ns, true)
	hops := []string{"10.1.0.1", "10.2.0.1", "172.16.0.9", "10.9.9.9", "2001:db8:1::1"}
	links := []string{"IfWe1", "IfWe2", "lan"}
	decided, ever := map[netip.Prefix]Route{}, map[netip.Prefix]bool{}
	problem := ""
	defer func() {
		if t.Failed() {
			t.Logf("seed %d: %s", seed, problem)
		}
	}()
	for round := range 40 {
		for range 1 + r.IntN(20) {
			decision := Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(r.IntN(3)), byte(r.IntN(40)), 0}), 16+8*r.IntN(2)).Masked()}
			if r.IntN(4) == 0 {
				decision.Prefix = netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/48", 100+r.IntN(40)))
			}
			for range r.IntN(4) {
				decision.NextHops = append(decision.NextHops, addr(hops[r.IntN(len(hops))]))
			}
			decision.Internal = r.IntN(3) == 0
			decided[decision.Prefix] = decision
			table.Update([]Route{decision})
		}
		switch r.IntN(8) {
		case 0:
			down := slices.DeleteFunc(slices.Clone(links), func(string) bool { return r.IntN(2) == 0 })
			table.SetDown(down)
		case 1:
			ipBatch(t, ns, "link set IfWe1 down\nlink set IfWe1 up\nroute replace 10.1.0.1 via 169.254.0.1 dev IfWe1 onlink proto 177 metric 10\n"+
				"route replace 2001:db8:1::1 via fe80::1 dev IfWe1 onlink proto 177 metric 10")
		case 2:
			table.KeepStale()
			for _, d := range decided {
				table.Update([]Route{d})
			}
			table.SweepStale()
		}
		if round%3 != 0 {
			continue
		}
		testenv.Eventually(t, "the kernel has what was decided", func() bool {
			if err := table.Flush(t.Context()); err != nil {
				problem = err.Error()
				return false
			}
			for _, r := range bgpRoutes(t, ns) {
				ever[r.prefix] = true
			}
			problem = compare(t, table, decided, ever)
			return problem == ""
		})
	}
}

// compare holds the kernel against what was decided: routes by the links that the next hops resolve to, or, where
// nothing is left of them and no wider route is there, no way out.
func compare(t *testing.T, table *Table, decided map[netip.Prefix]Route, ever map[netip.Prefix]bool) string {
	v := table.current()
	want := map[netip.Prefix][]way{}
	for p, d := range decided {
		set := &hopSet{hops: d.NextHops, six: p.Addr().Is6()}
		if ways := set.resolve(v); len(ways) > 0 {
			want[p] = ways
		}
	}
	have := map[netip.Prefix]kernelRoute{}
	for _, r := range bgpRoutes(t, table.ns) {
		if other, twice := have[r.prefix]; twice {
			return fmt.Sprintf("%v has two routes: %+v, %+v", r.prefix, other, r)
		}
		have[r.prefix] = r
	}
	for p, ways := range want {
		r, there := have[p]
		metric := external.metric()
		if decided[p].Internal {
			metric = internal.metric()
		}
		if !there || r.metric != metric || !slices.Equal(sortWays(r.ways), ways) {
			return fmt.Sprintf("%v goes by %+v, want %v metric %d", p, r, ways, metric)
		}
	}
	for p := range ever {
		if _, wanted := want[p]; wanted {
			continue
		}
		r, there := have[p]
		wider := slices.ContainsFunc([]int{0, 8, 16}, func(bits int) bool {
			w, err := p.Addr().Prefix(bits)
			return err == nil && bits < p.Bits() && want[w] != nil
		})
		if there && r.unicast || !there && !wider || r.kind == unix.RTN_UNREACHABLE && wider {
			return fmt.Sprintf("%v is %+v (%v), and is to be without a way", p, r, there)
		}
	}
	return ""
}
