package configs_test

import (
	"slices"
	"strings"
	"testing"
)

func TestFiltersThatCutTheWatchOfAPeerAreWarnedOf(t *testing.T) {
	const peer = "address: 10.1.0.1, bfd: {}"
	in := func(rest string) string { return "{interface: IfE1, direction: inbound, " + rest + "}" }
	out := func(rest string) string { return "{interface: IfE1, direction: outbound, " + rest + "}" }
	for filters, cut := range map[string]bool{
		"": false,
		in("action: deny, list: ['any:any:TCP']"):                                  true,
		in("action: deny, list: ['any:any:TCP', 'any:any:UDP:0:3784']"):            false,
		in("action: deny, list: ['any:any:TCP', 'any:any:UDP:49152-65535:0']"):     false,
		in("action: deny, list: ['any:any:TCP', 'any:any:UDP:3784:0']"):            true, // BFD has no answers
		in("action: deny, list: ['any:any:TCP', 'any:any:UDP:0:3785']"):            true,
		in("action: allow, list: ['10.1.0.1:any:UDP:0:3784']"):                     true,
		out("action: deny, list: ['any:any:TCP']"):                                 true,
		out("action: deny, list: ['any:any:TCP'], established: allow"):             true, // nor is one end's the other's answer
		out("action: deny, list: ['any:any:TCP', '10.0.0.2:10.1.0.1:UDP:0:3784']"): false,
	} {
		got := warned(t, peer, filters)
		if is := slices.ContainsFunc(got, func(w string) bool { return strings.Contains(w, "drop BFD with the peer NY") }); is != cut {
			t.Errorf("%s: warnings %q, BFD cut %v", filters, got, cut)
		}
		if unwatched := warned(t, "address: 10.1.0.1", filters); strings.Contains(strings.Join(unwatched, ""), "BFD") {
			t.Errorf("%s without BFD: warnings %q", filters, unwatched)
		}
	}
	got := warned(t, peer, in("action: deny, list: ['any:any:TCP']"))
	const want = `Tenant/Contoso: the filters on IfE1 drop BFD with the peer NY; want them to pass ` +
		`"10.1.0.1/32:10.0.0.2/32:UDP:0:3784" and, the other way, "10.0.0.2/32:10.1.0.1/32:UDP:0:3784"`
	if len(got) != 1 || got[0] != want {
		t.Errorf("warnings %q, want %q", got, want)
	}
	// What the warning proposes is what it takes.
	if w := warned(t, peer, in("action: deny, list: ['any:any:TCP', '10.1.0.1/32:10.0.0.2/32:UDP:0:3784']")+","+
		out("action: deny, list: ['any:any:TCP', '10.0.0.2/32:10.1.0.1/32:UDP:0:3784']")); len(w) != 0 {
		t.Errorf("with what a warning proposes the warnings are %q", w)
	}
}

func TestRoutingThatComesToNothingIsWarnedOf(t *testing.T) {
	const site = "destination: 59.10.10.%\nauthentication: {method: PSK, sharedSecret: {value: a}}\n"
	first := "name: IfE1\n" + strings.Replace(site, "%", "10", 1)
	second := "name: IfE2\n" + strings.Replace(site, "%", "11", 1)
	router := func(rest, peer string) string {
		return "  bgp:\n    identifier: 10.0.0.2\n    asn: 65412\n" + rest +
			"    peers: [{name: NY, localAddress: 10.0.0.2, address: 10.1.0.1, " + peer + "}]\n"
	}
	const external, policies = "asn: 65413", "    policies: [{name: prefer, statements: [{set: {localPreference: 200}}]}]\n"
	for _, tt := range []struct {
		what, more, first, second string
		want                      string
	}{
		{"a plain router", router("", external), "subnets: [10.1.0.1/32:100]", "subnets: [10.2.0.0/24:100]", ""},
		{"two ways", router("", external), "subnets: [10.1.0.0/24:100]", "subnets: [10.1.0.0/24:200]",
			"the way to the BGP peer NY is behind IfE1 and IfE2 alike, so that its session moves from one to the other; want its " +
				"host route, such as 10.1.0.1/32:100, in the subnets of one"},
		{"only a default route", router("", external), "subnets: [0.0.0.0/0:100]", "",
			"the BGP peer NY exchanges ipv4 routes, and no subnets of IfE1 hold a next hop of that family; want the peer's address " +
				"of it in them"},
		{"a tunnel that is idle between two keepalives", router("", external), "subnets: [10.1.0.1/32:100]\nidleDisconnect: 30s", "",
			"IfE1 is disconnected when idle for 30s, and the BGP peer NY behind it hears from us every 30s only: the session would " +
				"end and come back over and over; want a longer idleDisconnect or a shorter keepaliveInterval"},
		{"a tunnel that keepalives keep up", router("", external), "subnets: [10.1.0.1/32:100]\nidleDisconnect: 31s", "", ""},
		{"a wider second way", router("", external), "subnets: [10.1.0.1/32:100, 10.1.0.0/24:100]", "subnets: [10.1.0.0/24:200]", ""},
		{"preference outwards", router(policies, external+", export: [prefer]"), "subnets: [10.1.0.1/32:100]", "",
			"policy prefer sets localPreference, which external peers such as NY are not told (RFC 4271, 5.1.5); want med or " +
				"prepend there"},
		{"preference inwards", router(policies, external+", import: [prefer]"), "subnets: [10.1.0.1/32:100]", "", ""},
		{"preference to an internal peer", router(policies, "asn: 65412, export: [prefer]"), "subnets: [10.1.0.1/32:100]", "", ""},
		{"an unused policy", router(policies, external), "subnets: [10.1.0.1/32:100]", "", "policy prefer is in no peer's import or export"},
		{"routes of nothing", router("    customRoutes: [{interface: IfE2}]\n", external), "subnets: [10.1.0.1/32:100]", "",
			"bgp.customRoutes advertises the routes on IfE2, which has none"},
		{"static routes", router("    customRoutes: [{interface: IfE2}]\n", external) + "  routes: [{prefix: 10.7.0.0/16, interface: IfE2}]\n",
			"subnets: [10.1.0.1/32:100]", "", ""},
		{"the routes of a tunnel", router("    customRoutes: [{interface: IfE1}, {interface: IfI1}]\n", external),
			"subnets: [10.1.0.1/32:100]", "", ""},
		{"a strange prefix", router("    customRoutes: [{prefix: 10.9.0.0/16}]\n", external), "subnets: [10.1.0.1/32:100]", "",
			"bgp.customRoutes advertises 10.9.0.0/16, and nothing that is declared is in it"},
		{"a summary, and a part", router("    customRoutes: [{prefix: 10.0.0.0/8}, {prefix: 10.0.0.64/26}, {prefix: 0.0.0.0/0}]\n", external),
			"subnets: [10.1.0.1/32:100]", "", ""},
	} {
		c, err := loadText(t, certified("", ""), tenantOf("Contoso", 1, tt.more, first+tt.first, second+tt.second))
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
			continue
		}
		got := strings.Join(c.Warnings(), "\n")
		if tt.want != "" {
			tt.want = "Tenant/Contoso: " + tt.want
		}
		if got != tt.want {
			t.Errorf("%s: warnings %q, want %q", tt.what, got, tt.want)
		}
	}
}

func TestFamilyWithoutNextHopsIsWarnedOf(t *testing.T) {
	const want = "the BGP peer NY exchanges ipv6 routes, and no subnets of IfE1 hold a next hop of that family"
	for peer, warned := range map[string]bool{
		"address: 10.1.0.1":                          true,
		"address: 10.0.0.9":                          false, // in the virtual network, whose IPv6 is at hand
		"address: 10.1.0.1, addressFamilies: [ipv4]": false,
	} {
		text := peer
		if !strings.Contains(peer, "Families") {
			text += ", addressFamilies: [ipv4, ipv6]"
		}
		c, err := loadText(t, certified("", ""), dualStack(text))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(c.Warnings(), "\n")
		if strings.Contains(got, want) != warned {
			t.Errorf("%s: warnings %q, want that of next hops: %v", peer, got, warned)
		}
	}
}
