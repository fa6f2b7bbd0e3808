package speaker

import (
	"net/netip"
	"slices"
	"testing"
)

func TestWhyAPathWonIsToldByTheFirstStepThatDecided(t *testing.T) {
	base := candidate{external: true, preference: 100, pathLength: 2, med: 10, neighborAS: 65413, since: 100,
		identifier: netip.MustParseAddr("10.1.0.1"), address: netip.MustParseAddr("10.1.0.1")}
	with := func(f func(*candidate)) candidate {
		c := base
		f(&c)
		return c
	}
	internal := with(func(c *candidate) { c.external = false })
	for _, test := range []struct {
		what       string
		best, next candidate
		always     bool
		won, lost  string
	}{
		{"preference before the path", with(func(c *candidate) { c.preference, c.pathLength = 200, 5 }), base, false,
			"higher local preference", "lower local preference"},
		{"our own", with(func(c *candidate) { c.local = true }), base, false, "our own route", "we have a route of our own"},
		{"path before the origin", with(func(c *candidate) { c.pathLength, c.origin = 1, 2 }), base, false,
			"shorter AS path", "longer AS path"},
		{"origin", base, with(func(c *candidate) { c.origin = 2 }), false, "better origin", "worse origin"},
		{"metric of one system", with(func(c *candidate) { c.med = 1 }), base, false, "lower MED", "higher MED"},
		{"no metric of two systems", base, with(func(c *candidate) { c.med, c.neighborAS, c.since = 1, 65414, 200 }), false,
			"older", "newer"},
		{"metric of two systems", with(func(c *candidate) { c.med, c.neighborAS = 1, 65414 }), base, true,
			"lower MED", "higher MED"},
		{"external", base, internal, false, "external peer", "internal peer"},
		{"identifier of internal peers", internal, with(func(c *candidate) {
			c.external, c.identifier = false, netip.MustParseAddr("10.9.0.1")
		}), false, "lower BGP identifier", "higher BGP identifier"},
		{"address", base, with(func(c *candidate) { c.address = netip.MustParseAddr("10.2.0.1") }), false,
			"lower peer address", "higher peer address"},
		{"nothing", base, base, false, "first that came", "came later"},
	} {
		got := why([]candidate{test.best, test.next}, []bool{true, false}, test.always)
		if !slices.Equal(got, []string{test.won, test.lost}) {
			t.Errorf("%s: told %q, want %q and %q", test.what, got, test.won, test.lost)
		}
	}
	if got := why([]candidate{base}, []bool{true}, false); got[0] != "only path" {
		t.Errorf("told %q of the only path", got[0])
	}
	if got := why([]candidate{base, base}, []bool{true, true}, false); got[1] != "as good as the best" {
		t.Errorf("told %q of a path that is used too", got[1])
	}
}
