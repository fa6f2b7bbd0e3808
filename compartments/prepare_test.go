package compartments_test

import (
	"net/netip"
	"slices"
	"testing"

	"bulkhead/compartments"
)

func TestPrepareMakesLinksAndLeavesThemAsTheyAre(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	for _, up := range []bool{false, true} {
		must(t, g.Prepare(t.Context(), ns, contoso(t)))
		for _, name := range []string{"IfCi1", "ext"} {
			if l := link(g.state(t, ns), name); l == nil || l.Up != up {
				t.Errorf("with links up %v, Prepare leaves %s as %+v", up, name, l)
			}
		}
		g.set(t, ns, contoso(t))
	}
}

func TestSetRoutesChangesRoutesAlone(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	declared := contoso(t).Routes
	g.set(t, ns, contoso(t))
	before := g.state(t, ns)
	other := compartments.Route{Prefix: prefix("10.9.0.0/24"), Link: "ext", NextHop: addr("169.254.0.1"), Metric: 9}
	must(t, g.SetRoutes(t.Context(), ns, append(slices.Clone(declared[1:]), other)))
	after := g.state(t, ns)
	has := func(p netip.Prefix) bool {
		return slices.ContainsFunc(after.Routes, func(r compartments.RouteState) bool { return r.Prefix == p })
	}
	if !has(other.Prefix) || has(declared[0].Prefix) || len(after.Routes) != len(before.Routes) {
		t.Errorf("%v is to have taken the place of %v: %+v", other.Prefix, declared[0].Prefix, after.Routes)
	}
	if len(after.Links) != len(before.Links) || link(after, "IfCi1").Index != link(before, "IfCi1").Index {
		t.Errorf("the links were %+v, and are %+v", before.Links, after.Links)
	}
}
