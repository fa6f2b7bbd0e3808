package configs_test

import (
	"strings"
	"testing"
)

// warned loads a tenant with a tunnel to 10.1.0.0/24, where its BGP peer 10.1.0.1 is, and these filters.
func warned(t *testing.T, peer, filters string) []string {
	t.Helper()
	c, err := loadText(t, certified("", ""), tenantOf("Contoso", 1, `  bgp:
    identifier: 10.0.0.2
    asn: 65412
    peers: [{name: NY, localAddress: 10.0.0.2, asn: 65413, `+peer+`}]
  filters: [`+filters+"]\n",
		"name: IfE1\ndestination: 59.10.10.10\nauthentication: {method: PSK, sharedSecret: {value: a}}\nsubnets: [10.1.0.0/24:100]",
		"name: IfE2\ndestination: 59.10.10.11\nauthentication: {method: PSK, sharedSecret: {value: a}}\nsubnets: [10.0.0.0/8:100]"))
	if err != nil {
		t.Fatalf("%s: %v", filters, err)
	}
	return c.Warnings()
}

func TestFiltersThatCutTheTenantsOwnBGPAreWarnedOf(t *testing.T) {
	const peer, passive, vm = "address: 10.1.0.1", "address: 10.1.0.1, operationMode: Passive", "address: 10.0.0.9"
	in := func(rest string) string { return "{interface: IfE1, direction: inbound, " + rest + "}" }
	out := func(rest string) string { return "{interface: IfE1, direction: outbound, " + rest + "}" }
	for _, tt := range []struct {
		peer, filters string
		cut           bool
	}{
		{peer, "", false},
		{peer, in("action: deny"), true},
		{peer, in("action: allow"), false},
		{peer, out("action: deny"), true},
		{peer, in("action: allow, list: ['any:any:TCP']"), true},
		{peer, in("action: allow, list: ['any:any:TCP:0:443']"), false},
		{peer, in("action: allow, list: ['any:any:UDP']"), false},
		{peer, in("action: deny, list: ['any:any:TCP:0:179']"), false},             // the peer dials
		{peer, in("action: deny, list: ['10.1.0.1:10.0.0.2:TCP:179:0']"), false},   // the gateway dials
		{passive, in("action: deny, list: ['10.1.0.1:10.0.0.2:TCP:179:0']"), true}, // it does not
		{passive, in("action: deny, list: ['10.1.0.1:10.0.0.2:TCP:0:179']"), false},
		{peer, in("action: deny, list: ['10.1.0.2:10.0.0.2:TCP:0:179']"), true},
		{peer, in("action: deny, list: ['10.1.0.1:10.0.0.2:TCP:0:180-200']"), true},
		{peer, in("action: deny, list: ['10.1.0.1:10.0.0.2:TCP:0:100-200']"), false},
		{peer, in("action: deny, list: ['10.1.0.1:10.0.0.2:6']"), false},
		{peer, in("action: deny, list: ['10.1.0.1:10.0.0.2:any']"), false},
		{peer, in("action: deny, list: ['10.1.0.1:10.0.0.2:ICMP']"), true},
		{peer, in("action: deny, list: ['[fd00::/8]:any:any']"), false}, // a list of IPv6 does not govern IPv4
		// Both directions, of which the answers are one.
		{peer, in("action: deny, list: ['any:any:TCP:0:179']") + "," + out("action: deny, list: ['any:any:TCP:0:179']"), true},
		{peer, in("action: deny, list: ['any:any:TCP:0:179']") + "," + out("action: deny, list: ['any:any:TCP:179:0']"), false},
		{peer, in("action: deny, list: ['any:any:TCP:0:179']") + "," + out("action: deny, established: allow"), false},
		{peer, in("action: deny, established: allow") + "," + out("action: deny, list: ['any:any:TCP:0:179']"), false},
		{passive, in("action: deny, established: allow") + "," + out("action: deny, list: ['any:any:TCP:0:179']"), true},
		{peer, in("action: deny, established: allow") + "," + out("action: deny, established: allow"), true},
		// Another interface, and one whose prefix is wider.
		{peer, "{interface: IfE2, direction: inbound, action: deny}", false},
		{peer, "{interface: IfI1, direction: inbound, action: deny}", false},
		// A peer in the virtual network: what leaves that arrives from the internal interface.
		{vm, "{interface: IfI1, direction: outbound, action: deny, list: ['any:any:TCP:0:179']}", false},
		{vm, "{interface: IfI1, direction: inbound, action: deny, list: ['10.0.0.2:10.0.0.9:TCP:179:0']}", false},
		{vm, "{interface: IfI1, direction: inbound, action: deny, list: ['10.0.0.9:10.0.0.2:TCP:0:179']}", true},
		{vm, "{interface: IfE1, direction: inbound, action: deny}", false},
	} {
		warnings := strings.Join(warned(t, tt.peer, tt.filters), "\n")
		if cut := strings.Contains(warnings, "drop BGP with the peer NY"); cut != tt.cut {
			t.Errorf("%s with %s: warnings %q, cut %v", tt.peer, tt.filters, warnings, tt.cut)
		}
	}
	got := warned(t, peer, in("action: deny"))
	const want = `Tenant/Contoso: the filters on IfE1 drop BGP with the peer NY; want them to pass ` +
		`"10.1.0.1/32:10.0.0.2/32:TCP:0:179" and, the other way, "10.0.0.2/32:10.1.0.1/32:TCP:179:0"`
	if len(got) != 1 || got[0] != want {
		t.Errorf("warnings %q, want %q", got, want)
	}
	// What the warning proposes is what it takes.
	if w := warned(t, passive, in("action: deny, list: ['10.1.0.1/32:10.0.0.2/32:TCP:0:179']")+","+
		out("action: deny, list: ['10.0.0.2/32:10.1.0.1/32:TCP:179:0']")); len(w) != 0 {
		t.Errorf("with what a warning proposes the warnings are %q", w)
	}
}

func TestFiltersThatPassAWholeAddressFamilyAreWarnedOf(t *testing.T) {
	load := func(more string) []string {
		c, err := loadText(t, certified("", ""), tenantOf("Contoso", 1, more,
			"name: IfE1\ndestination: 59.10.10.10\nauthentication: {method: PSK, sharedSecret: {value: a}}\nsubnets: [10.1.0.0/24:100]"))
		if err != nil {
			t.Fatalf("%s: %v", more, err)
		}
		return c.Warnings()
	}
	for _, tt := range []struct {
		filter string
		want   string
	}{
		{"action: deny, list: ['10.1.0.0/24:any:any']", ""},
		{"action: deny, list: ['[fd00::/8]:any:any']", "names IPv6 only, so that all of IPv4 passes it"},
		{"action: deny, list: ['any:any:ICMPv6']", "names IPv6 only"},
		{"action: deny, list: ['[fd00::/8]:any:any', '127.0.0.1:127.0.0.1:any']", ""},
		{"action: deny, list: ['[fd00::/8]:any:any', 'any:any:TCP:0:443']", ""},
		{"action: allow, list: ['[fd00::/8]:any:any']", ""},
		{"action: deny", ""},
	} {
		got := load("  filters: [{interface: IfE1, direction: inbound, " + tt.filter + "}]\n")
		if joined := strings.Join(got, "\n"); (tt.want == "") != (len(got) == 0) || !strings.Contains(joined, tt.want) {
			t.Errorf("%s: warnings %q, want %q", tt.filter, got, tt.want)
		}
	}
}

func TestFilterOfIPv4InATenantOfIPv6IsWarnedOf(t *testing.T) {
	load := func(filters string) []string {
		c, err := loadText(t, strings.Replace(certified("", ""), "131.107.10.11/24", `"2001:db8:e::10/64"`, 1), `---
apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: Six}
spec:
  routingDomainId: 12345678-1000-2000-3000-123456780001
  virtualSubnets: [{vsid: 5001, prefix: "fd00:1::/64"}]
  internalInterfaces: [{name: IfI1, vsid: 5001, addresses: ["fd00:1::2/64"]}]
  siteToSite:
    - name: IfE1
      destination: 59.10.10.10
      authentication: {method: PSK, sharedSecret: {value: a}}
      subnets: ["fd00:2::/64:100"]
  filters: [`+filters+"]\n")
		if err != nil {
			t.Fatal(err)
		}
		return c.Warnings()
	}
	for _, link := range []string{"IfE1", "IfI1"} {
		got := load("{interface: " + link + ", direction: outbound, action: deny, list: ['any:10.1.0.0/24:any']}")
		const want = `names IPv4 only, so that all of IPv6 passes it; "[::1/128]:[::1/128]:any" in its list drops IPv6 too`
		if len(got) != 1 || !strings.Contains(got[0], want) || !strings.Contains(got[0], "outbound filter on "+link) {
			t.Errorf("%s: warnings %q, want %q", link, got, want)
		}
		got = load("{interface: " + link + ", direction: outbound, action: deny, " +
			"list: ['any:10.1.0.0/24:any', '[::1/128]:[::1/128]:any']}")
		if len(got) != 0 {
			t.Errorf("%s with what a warning proposes: warnings %q", link, got)
		}
	}
}
