package gateway

import (
	"cmp"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/dataplane"
	"bulkhead/vpn"
)

var update = flag.Bool("update", false, "write the golden files anew")

// load translates a folder of declarations as a gateway on a fresh machine would.
func load(t *testing.T, paths ...string) *Plan {
	t.Helper()
	cfg, err := configs.Load(paths...)
	if err != nil {
		t.Fatal(err)
	}
	names, interfaces := siteInterfaces(cfg)
	plan := translate(&policy{config: cfg}, allocate(names, interfaces, nil))
	for _, t := range plan.Tenants {
		t.Compartment, t.Doors = t.compartment(allConnected), t.doors() // with what changes while the plan is in force
	}
	return plan
}

func allConnected(string) vpn.State { return vpn.Connected }

func golden(t *testing.T, got any) {
	t.Helper()
	path := filepath.Join("testdata", t.Name()+".json")
	text, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("%s differs (-want +got); run with -update if that is meant:\n%s", path, diff)
	}
}

// A route straight onto a pair would keep a neighbour for each destination, in a table that all tenants share.
func TestEveryRouteToADoorHasANextHop(t *testing.T) {
	for _, folder := range []string{"../configs/fabrikam", "testdata/policy"} {
		for _, tenant := range load(t, folder).Tenants {
			pairs := map[string]bool{}
			for _, l := range tenant.Compartment.Links {
				pairs[l.Name] = l.Kind == compartments.Pair
			}
			for _, r := range tenant.Compartment.Routes {
				if pairs[r.Link] && !r.NextHop.IsValid() {
					t.Errorf("%s of %s: the route to %v has no next hop", tenant.Name, folder, r.Prefix)
				}
			}
		}
	}
}

func TestAStaticRouteByAVMIsTheDoorsToo(t *testing.T) {
	plan := load(t, "testdata/policy").tenant("Contoso")
	want := dataplane.CustomerRoute{VSID: 5001, Prefix: netip.MustParsePrefix("10.60.0.0/16"),
		NextHop: netip.MustParseAddr("10.0.0.100"), Metric: 7}
	if !slices.Contains(plan.Doors.Routes, want) {
		t.Errorf("the doors have %v, want %v among them", plan.Doors.Routes, want)
	}
	if !slices.ContainsFunc(plan.Compartment.Routes, func(r compartments.Route) bool {
		return r.Prefix == want.Prefix && r.Link == "IfCi1" && r.Metric == 7
	}) {
		t.Errorf("the compartment has no route to %v by IfCi1: %v", want.Prefix, plan.Compartment.Routes)
	}
}

func TestPlanOfTheReferenceDeployment(t *testing.T) {
	golden(t, load(t, "../configs/fabrikam"))
}

// Provider addresses of both families, in a VLAN and of VSIDs of their own; records of every type and rule; the gateway as
// external router, once with a filter between virtual subnets; customer routes with every kind of next hop.
func TestPlanOfEveryKindOfPolicy(t *testing.T) {
	golden(t, load(t, "testdata/policy"))
}

// route finds the plan's routes of a prefix in order of preference.
func routes(t *TenantPlan, prefix string) (found []compartments.Route) {
	for _, r := range t.Compartment.Routes {
		if r.Prefix == netip.MustParsePrefix(prefix) {
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(a, b compartments.Route) int { return cmp.Compare(a.Metric, b.Metric) })
	return found
}

// Laws 1 and 6: every prefix of a site, host routes of BGP peers included, keeps an unreachable route that is worse than
// the tunnel's and better than NAT's, so that losing the tunnel's route never means leaving in clear.
func TestEverySitePrefixFallsBackToUnreachableBeforeNAT(t *testing.T) {
	plan := load(t, "../configs/fabrikam")
	for _, tenant := range plan.Tenants {
		nat := routes(tenant, "0.0.0.0/0")
		if len(nat) != 1 || nat[0].Link != externalLink {
			t.Fatalf("%s: default routes %+v, want NAT's only", tenant.Name, nat)
		}
		for site, prefixes := range tenant.Sites {
			for _, prefix := range prefixes {
				found := routes(tenant, prefix.String())
				if len(found) != 2 {
					t.Errorf("%s %s %v: routes %+v, want the tunnel's and the fallback", tenant.Name, site, prefix, found)
					continue
				}
				tunnel, fallback := found[0], found[1]
				if tunnel.Link != site || tunnel.Unreachable {
					t.Errorf("%s %s %v: %+v does not lead into the tunnel", tenant.Name, site, prefix, tunnel)
				}
				if !fallback.Unreachable || fallback.Metric <= tunnel.Metric || fallback.Metric >= nat[0].Metric {
					t.Errorf("%s %s %v: fallback %+v must be worse than %d and better than %d", tenant.Name, site, prefix,
						fallback, tunnel.Metric, nat[0].Metric)
				}
			}
		}
	}
}

// Law 7: what the compartment itself sends into a tunnel or to the Internet carries its internal address.
func TestEveryRouteOutOfTheCompartmentCarriesTheInternalAddress(t *testing.T) {
	plan := load(t, "../configs/fabrikam")
	for _, tenant := range plan.Tenants {
		for _, r := range tenant.Compartment.Routes {
			if !r.Unreachable && r.Source != netip.MustParseAddr("10.0.254.2") {
				t.Errorf("%s: route %+v has no internal address as source", tenant.Name, r)
			}
		}
	}
}

// Law 5: a site that declares everything gets everything; nothing of it may leave by NAT when its tunnel is down.
func TestSiteThatDeclaresTheDefaultRouteFailsClosed(t *testing.T) {
	dir := t.TempDir()
	copyFile(t, "../configs/fabrikam/gateway.yaml", dir, nil)
	copyFile(t, "../configs/fabrikam/contoso.yaml", dir, func(s string) string {
		return replace(t, s, `subnets: ["10.1.0.0/24:100"]`, `subnets: ["0.0.0.0/0:100"]`)
	})
	tenant := load(t, dir).tenant("Contoso")
	found := routes(tenant, "0.0.0.0/0")
	if len(found) != 3 || found[0].Link != "IfCe1" || !found[1].Unreachable || found[2].Link != externalLink {
		t.Fatalf("default routes %+v, want tunnel, unreachable, NAT", found)
	}
	if found[0].Metric >= found[1].Metric || found[1].Metric >= found[2].Metric {
		t.Errorf("metrics %d, %d, %d do not rise", found[0].Metric, found[1].Metric, found[2].Metric)
	}
}

func TestKernelsIfIDsSurviveTranslation(t *testing.T) {
	cfg, err := configs.Load("../configs/fabrikam")
	if err != nil {
		t.Fatal(err)
	}
	names, interfaces := siteInterfaces(cfg)
	plan := translate(&policy{config: cfg}, allocate(names, interfaces, ifIDs{"Woodgrove": {"IfWe2": 42}}))
	for _, v := range plan.tenant("Woodgrove").VPN {
		if v.Name == "IfWe2" && v.IfID != 42 {
			t.Errorf("IfWe2 has if_id %d, the kernel has 42", v.IfID)
		}
	}
	for _, l := range plan.tenant("Woodgrove").Compartment.Links {
		if l.Name == "IfWe2" && l.IfID != 42 {
			t.Errorf("IfWe2's link has if_id %d, the kernel has 42", l.IfID)
		}
	}
}
