package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulkhead/compartments"
	"bulkhead/vpn"
)

// way is a site's route in one line: "IfWe1 10.1.0.0/24 100", with "post" for one that stands while connected only.
func way(line string) SiteRoute {
	words := strings.Fields(line)
	metric := map[string]uint32{"100": 100, "200": 200}[words[2]]
	return SiteRoute{
		Route:          compartments.Route{Link: words[0], Prefix: netip.MustParsePrefix(words[1]), Metric: metric},
		WhileConnected: len(words) > 3,
	}
}

func TestSiteRoutesFollowTheTunnels(t *testing.T) {
	const (
		ny    = "IfWe1 10.1.0.0/24 100"
		sfo   = "IfWe2 10.1.0.0/24 200"
		post  = "IfWe1 10.9.0.0/24 100 post"
		other = "IfWe2 10.2.0.0/24 100"
	)
	static := []compartments.Route{
		{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Unreachable: true, Metric: metricUnreachable},
		{Prefix: netip.MustParsePrefix("10.2.0.0/24"), Unreachable: true, Metric: metricUnreachable},
	}
	for name, c := range map[string]struct {
		states map[string]vpn.State
		want   []string
	}{
		"nobody has dialled": {nil, []string{ny, sfo, other}},
		"both connected": {map[string]vpn.State{"IfWe1": vpn.Connected, "IfWe2": vpn.Connected},
			[]string{ny, sfo, post, other}},
		"New York is dialled":     {map[string]vpn.State{"IfWe1": vpn.Connecting}, []string{ny, sfo, other}},
		"New York is unreachable": {map[string]vpn.State{"IfWe1": vpn.Unreachable}, []string{sfo, other}},
		"San Francisco alone has 10.2.0.0/24 and keeps it": {map[string]vpn.State{"IfWe2": vpn.Unreachable},
			[]string{ny, other}},
		"all are unreachable and the next packet may dial": {
			map[string]vpn.State{"IfWe1": vpn.Unreachable, "IfWe2": vpn.Unreachable}, []string{ny, sfo, other}},
	} {
		t.Run(name, func(t *testing.T) {
			all := []SiteRoute{way(ny), way(sfo), way(post), way(other)}
			var want []compartments.Route
			for _, line := range c.want {
				want = append(want, way(line).Route)
			}
			got := siteRoutes(all, static, func(iface string) vpn.State { return c.states[iface] })
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestAStaticRouteIsAnAlternativeToAnUnreachableSite(t *testing.T) {
	static := []compartments.Route{{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Link: "IfCi1", Metric: 500}}
	got := siteRoutes([]SiteRoute{way("IfCe1 10.1.0.0/24 100")}, static, func(string) vpn.State { return vpn.Unreachable })
	if len(got) != 0 {
		t.Errorf("%v is in force beside %v", got, static)
	}
}

func TestTheKernelRemembersTunnelsOfAnEarlierDaemon(t *testing.T) {
	standing := compartments.State{
		Links: []compartments.LinkState{{Name: "IfWe1", Up: true}, {Name: "IfWe2", Up: true}, {Name: "IfWe3"}},
		Routes: []compartments.RouteState{
			{Prefix: netip.MustParsePrefix("10.1.0.0/24"), NextHops: []compartments.NextHop{{Link: "IfWe2"}}},
			{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Unreachable: true},
			{Prefix: netip.MustParsePrefix("10.9.0.0/24"), NextHops: []compartments.NextHop{{Link: "IfWe2"}}},
		},
	}
	got := remembered([]SiteRoute{
		way("IfWe1 10.1.0.0/24 100"), way("IfWe2 10.1.0.0/24 200"), way("IfWe3 10.1.0.0/24 200"),
		way("IfWe1 10.7.0.0/24 100"), way("IfWe2 10.9.0.0/24 100 post"),
	}, map[string]bool{"IfWe1": true, "IfWe2": true}, standing)
	if len(got) != 2 || got["IfWe1"] != vpn.Unreachable || got["IfWe2"] != vpn.Connected {
		t.Errorf("remembered: %v", got)
	}
}

// Nobody would dial one that is taken for unreachable, and its packets go elsewhere: it would never come back.
func TestTheKernelRemembersATunnelThatNobodyDialsByItsRoute(t *testing.T) {
	standing := compartments.State{
		Links: []compartments.LinkState{{Name: "IfWe1", Up: true}, {Name: "IfWe2", Up: true}},
		Routes: []compartments.RouteState{
			{Prefix: netip.MustParsePrefix("10.1.0.0/24"), NextHops: []compartments.NextHop{{Link: "IfWe2"}}},
		},
	}
	got := remembered([]SiteRoute{way("IfWe1 10.1.0.0/24 100"), way("IfWe2 10.1.0.0/24 200")}, nil, standing)
	if len(got) != 1 || got["IfWe2"] != vpn.Connected {
		t.Errorf("remembered: %v", got)
	}
}
