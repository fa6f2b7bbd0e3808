package filters_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"bulkhead/filters"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

func hits(t *testing.T, ns *netns.Namespace) []string {
	t.Helper()
	all, err := filters.Hits(ns)
	must(t, err)
	var out []string
	for _, h := range all {
		direction, verdict := "leaving", "drops"
		if h.Arriving {
			direction = "arriving"
		}
		if h.Pass {
			verdict = "passes"
		}
		if h.Packets > 0 != (h.Bytes > 20*h.Packets) {
			t.Errorf("%d packets have %d bytes", h.Packets, h.Bytes)
		}
		out = append(out, fmt.Sprintf("%s %s %s %s: %d", h.Link, direction, verdict, h.Rule, h.Packets))
	}
	return out
}

func TestEachRuleCountsWhatItNamesAndKeepsThatOverChangesOfOthers(t *testing.T) {
	n := newNetwork(t)
	must(t, filters.Set(t.Context(), n.gw, nil))
	if got := hits(t, n.gw); len(got) != 0 {
		t.Errorf("without filters there are hits: %v", got)
	}
	web := rule("any:any:TCP:0:443", "", "", unix.IPPROTO_TCP, destinationPorts(443, 443))
	dns := rule("any:any:UDP:0:53", "", "", unix.IPPROTO_UDP, destinationPorts(53, 53))
	ping := rule("any:any:ICMP:8:0", "", "", unix.IPPROTO_ICMP, icmpType(8, 0))
	in := filters.Filter{Link: "IfCe1", Arriving: true, Established: true, Rules: []filters.Rule{web, web, dns}}
	out := filters.Filter{Link: "IfCe1", Pass: true, Rules: []filters.Rule{ping}}
	set(t, n, in, out)
	for _, p := range []probe{
		{"10.1.0.10 10.0.0.10", tcp(1, 443, "SYN")}, {"10.1.0.10 10.0.0.10", udp(1, 53)}, {"10.1.0.10 10.0.0.10", udp(2, 53)},
		{"10.1.0.10 10.0.0.10", udp(1, 54)}, {"10.0.0.10 10.1.0.10", icmp(8, 0)},
		{"10.0.0.10 10.1.0.10", udp(7, 7)}, {"10.1.0.10 10.0.0.10", udp(7, 7)},
	} {
		n.try(t, p)
	}
	want := []string{
		"IfCe1 arriving passes established: 1", "IfCe1 arriving passes any:any:TCP:0:443: 1",
		"IfCe1 arriving passes any:any:UDP:0:53: 2", "IfCe1 arriving drops everything else: 1",
		"IfCe1 leaving drops any:any:ICMP:8:0: 1",
	}
	if diff := cmp.Diff(want, hits(t, n.gw)); diff != "" {
		t.Error(diff)
	}
	before := drops(t, n.gw)

	in.Rules, in.Established = []filters.Rule{ping, dns}, false
	out.Pass = false
	set(t, n, out, in)
	want = []string{
		"IfCe1 arriving passes any:any:ICMP:8:0: 0", "IfCe1 arriving passes any:any:UDP:0:53: 2",
		"IfCe1 arriving drops everything else: 1",
		"IfCe1 leaving passes any:any:ICMP:8:0: 0", "IfCe1 leaving drops everything else: 0",
	}
	if diff := cmp.Diff(want, hits(t, n.gw)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, drops(t, n.gw)); diff != "" {
		t.Errorf("drops did not go on: %s", diff)
	}
	set(t, n)
	if got := hits(t, n.gw); len(got) != 0 {
		t.Errorf("after the filters are gone there are hits: %v", got)
	}
	if got := n.try(t, probe{"10.1.0.10 10.0.0.10", udp(1, 54)}); got != "passed" {
		t.Errorf("after the filters are gone: %s", got)
	}
}

func TestAFilterStandsBeforeItsLink(t *testing.T) {
	n := newNetwork(t)
	set(t, n, filters.Filter{Link: "IfCe2", Arriving: true})
	later := newPort(t, n.gw, "IfCe2", []string{"10.2.0.1/24"}, nil)
	token := n.token()
	if got := n.fate(t, later, token, build(t, "10.2.0.10", "10.0.0.10", udp(1, 2), token)); got != "not-allowed" {
		t.Errorf("the first packet: %s", got)
	}
}

func TestAFilterThatCannotBeIsRefusedAndTheOldOnesStay(t *testing.T) {
	n := newNetwork(t)
	set(t, n, filters.Filter{Link: "IfCe1", Arriving: true})
	good := rule("any:any:any", "", "", 0)
	for name, c := range map[string]struct {
		all  []filters.Filter
		says string
	}{
		"no link":         {[]filters.Filter{{}}, `"" is no name of a link`},
		"a long name":     {[]filters.Filter{{Link: "IfCe1-is-too-long"}}, "is no name of a link"},
		"twice":           {[]filters.Filter{{Link: "IfCe1"}, {Link: "IfCe1", Pass: true}}, "leaving-IfCe1: two filters"},
		"mixed families":  {list(rule("r", "10.0.0.0/8", "fd00::/8", 0)), "IPv4 and IPv6"},
		"ICMP over IPv6":  {list(rule("r", "fd00::/8", "", 1)), "IPv4 and IPv6"},
		"ports of ESP":    {list(rule("r", "", "", 50, sourcePorts(1, 2))), "for TCP and UDP only"},
		"ports backwards": {list(rule("r", "", "", 6, destinationPorts(2, 1))), "ports 2-1"},
		"a type of TCP":   {list(rule("r", "", "", 6, icmpType(8, 0))), "neither ICMP nor ICMPv6"},
		"no text":         {list(rule("", "", "", 6)), "a text of 0 octets"},
		"a long text":     {list(rule(strings.Repeat("x", 201), "", "", 6)), "a text of 201 octets"},
		"the same text":   {list(good, rule("any:any:any", "", "", 6)), `arriving-IfCe1, rule 2, "any:any:any": another rule`},
	} {
		t.Run(name, func(t *testing.T) {
			err := filters.Set(t.Context(), n.gw, c.all)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Set: %v, want it to say %q", err, c.says)
			}
		})
	}
	if got := n.try(t, probe{"10.1.0.10 10.0.0.10", udp(1, 2)}); got != "not-allowed" {
		t.Errorf("afterwards: %s", got)
	}
}

func list(rules ...filters.Rule) []filters.Filter {
	return []filters.Filter{{Link: "IfCe1", Arriving: true, Rules: rules}}
}

// However many links have filters, each packet meets as many rules.
func TestAPacketMeetsTheRulesOfItsOwnLinkOnly(t *testing.T) {
	ns := testenv.Namespace(t)
	hooked := func(links int) map[string]int {
		var all []filters.Filter
		for i := range links {
			for _, arriving := range []bool{true, false} {
				all = append(all, filters.Filter{Link: fmt.Sprintf("IfCe%d", i), Arriving: arriving, Rules: []filters.Rule{
					rule("any:any:TCP:0:443", "", "", unix.IPPROTO_TCP, destinationPorts(443, 443)),
				}})
			}
		}
		must(t, filters.Set(t.Context(), ns, all))
		conn, err := nftables.New(nftables.WithNetNSFd(ns.Fd()))
		must(t, err)
		chains, err := conn.ListChains()
		must(t, err)
		rules := map[string]int{}
		for _, c := range chains {
			if c.Hooknum != nil {
				all, err := conn.GetRules(c.Table, c)
				must(t, err)
				rules[c.Name] = len(all)
			}
		}
		return rules
	}
	one, many := hooked(1), hooked(500)
	if diff := cmp.Diff(one, many); diff != "" || len(one) != 3 {
		t.Errorf("rules of the hooks %v with one link, %v with 500", one, many)
	}
}
