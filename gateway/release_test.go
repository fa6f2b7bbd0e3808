package gateway

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulkhead/vpn"
)

func TestTenantsLetGoOfSitesThatBelongToOthersNow(t *testing.T) {
	site := func(name, peer, identity string) vpn.Interface {
		return vpn.Interface{Name: name, PeerAddress: netip.MustParseAddr(peer), RemoteID: identity}
	}
	plan := func(contoso, woodgrove []vpn.Interface) *Plan {
		return &Plan{Tenants: []*TenantPlan{{Name: "Contoso", VPN: contoso}, {Name: "Woodgrove", VPN: woodgrove}}}
	}
	x, y, z := site("IfE1", "59.10.10.10", ""), site("IfE1", "59.10.10.100", ""), site("IfE2", "60.10.10.100", "")
	type sites = []vpn.Interface
	for name, test := range map[string]struct {
		before, after *Plan
		want          map[string][]string
	}{
		"at the start":     {nil, plan(sites{x}, sites{y}), nil},
		"nothing moves":    {plan(sites{x, z}, sites{y}), plan(sites{x}, sites{y}), map[string][]string{}},
		"one moves":        {plan(sites{x, z}, nil), plan(sites{z}, sites{x}), map[string][]string{"Contoso": {"IfE2"}}},
		"two are swapped":  {plan(sites{x}, sites{y}), plan(sites{y}, sites{x}), map[string][]string{"Contoso": nil, "Woodgrove": nil}},
		"within a tenant":  {plan(sites{x, z}, nil), plan(sites{z, x}, nil), map[string][]string{}},
		"its tenant goes":  {plan(sites{x}, nil), &Plan{Tenants: []*TenantPlan{{Name: "Woodgrove", VPN: sites{x}}}}, map[string][]string{}},
		"by identity only": {plan(sites{site("IfE1", "1.2.3.4", "NY")}, nil), plan(nil, sites{site("IfE1", "1.2.3.5", "ny")}), map[string][]string{"Contoso": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			released := releasedSites(test.before, test.after)
			var got map[string][]string
			if released != nil {
				got = map[string][]string{}
			}
			for tenant, kept := range released {
				got[tenant] = nil
				for _, i := range kept {
					got[tenant] = append(got[tenant], i.Name)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}
