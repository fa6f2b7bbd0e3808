package speaker

import (
	"net/netip"
	"slices"
	"testing"

	"bulkhead/bgp"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

func TestPeersAreToldOfOwnNetworksAndOfLinksRoutesAsLongAsTheyAreThere(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	config.Networks = parsed([]string{"10.0.0.0/24"})
	config.Interfaces = []string{"IfWe2"}
	s := speaking(t, config)
	peer := sites[0].connect()
	toldOnly(t, peer, "10.0.0.0/24")          // not SFO's own host route
	defer static(t, "10.2.0.0/16", "IfWe1")() // so that the next adds no address that is reached
	remove := static(t, "10.2.0.0/24", "IfWe2")
	attributes := toldOnly(t, peer, "10.0.0.0/24", "10.2.0.0/24")["10.2.0.0/24"]
	if nextHopOf(attributes) != ours {
		t.Errorf("next hop is %s, want ourselves", nextHopOf(attributes))
	}
	remove()
	toldOnly(t, peer, "10.0.0.0/24")
	none := *config
	none.Networks = nil
	must(t, s.Set(t.Context(), &none))
	toldOnly(t, peer)
}

func TestASiteHearsOfAnotherOnlyWithTransit(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	config.Networks = parsed([]string{"10.0.0.0/24"})
	s := speaking(t, config)
	from, to := sites[0].connect(), sites[1].connect()
	sites[0].tells(from, "10.1.0.0/24")
	goes(t, "10.1.0.0/24", "IfWe1")
	toldOnly(t, to, "10.0.0.0/24")
	transit := *config
	transit.Transit = true
	must(t, s.Set(t.Context(), &transit))
	attributes := toldOnly(t, to, "10.0.0.0/24", "10.1.0.0/24")["10.1.0.0/24"]
	if path := pathIn(attributes); !slices.Equal(path, []string{"65412", "65413"}) || nextHopOf(attributes) != ours {
		t.Errorf("told with path %q and next hop %s", path, nextHopOf(attributes))
	}
	must(t, s.Set(t.Context(), config))
	toldOnly(t, to, "10.0.0.0/24")
}

func TestExportPoliciesDecideAndChangeWhatIsTold(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.Networks = parsed([]string{"10.0.0.0/24", "10.0.1.0/24"})
	med := uint32(50)
	config.Policies = []bgp.Policy{{Name: "out", Statements: []bgp.Statement{
		{Prefixes: []bgp.PrefixRange{whole(netip.MustParsePrefix("10.0.1.0/24"))}, Action: bgp.Reject},
		{MED: &med, Prepend: 2, AddCommunities: []string{"65412:9"}, Action: bgp.Accept},
	}}}
	config.Peers[0].Export = []string{"out"}
	s := speaking(t, config)
	peer := sites[0].connect()
	attributes := toldOnly(t, peer, "10.0.0.0/24")["10.0.0.0/24"]
	if path := pathIn(attributes); !slices.Equal(path, []string{"65412", "65412", "65412"}) {
		t.Errorf("told with path %q", path)
	}
	metric := uint32(0)
	for _, attribute := range attributes {
		switch a := attribute.(type) {
		case *gobgp.PathAttributeMultiExitDisc:
			metric = a.Value
		case *gobgp.PathAttributeCommunities:
			if !slices.Equal(a.Value, []uint32{65412<<16 | 9}) {
				t.Errorf("told with communities %v", a.Value)
			}
		}
	}
	if metric != med {
		t.Errorf("told with the MED %d", metric)
	}
	var shown []bgp.Route
	must(t, s.Advertised(t.Context(), bgp.RouteQuery{Peer: "NY"}, func(r bgp.Route) bool {
		shown = append(shown, r)
		return true
	}))
	if len(shown) != 1 || shown[0].Prefix.String() != "10.0.0.0/24" || len(shown[0].ASPath) != 3 {
		t.Errorf("what is advertised is shown as %+v", shown)
	}
}

// pathIn is the AS path among attributes.
func pathIn(attributes []gobgp.PathAttributeInterface) []string {
	for _, attribute := range attributes {
		if a, ok := attribute.(*gobgp.PathAttributeAsPath); ok {
			return asPath(a)
		}
	}
	return nil
}
