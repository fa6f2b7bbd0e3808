package compartments_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulkhead/compartments"
	"bulkhead/internal/netns"
	"bulkhead/internal/watch"
)

// ip runs commands of ip(8) in a namespace.
func ip(t testing.TB, ns *netns.Namespace, lines string) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	var out strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(lines), &out, &out
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("ip: %v\n%s", err, out.String())
	}
}

func TestRoutesOfBGPAreShownAndLeftAlone(t *testing.T) {
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	g.set(t, ns, contoso(t))
	ip(t, ns, `nexthop add id 1 via 169.254.0.1 dev IfCi1 onlink proto 186
		nexthop add id 2 via 169.254.0.1 dev ext onlink proto 186
		nexthop add id 3 group 1/2 proto 186
		nexthop add id 4 blackhole proto 186
		nexthop add id 5 via fe80::1 dev ext onlink proto 186
		route add 10.3.0.0/16 nhid 1 proto bgp metric 20000 src 10.0.254.2
		route add 10.4.0.0/16 nhid 3 proto bgp metric 20200
		route add 10.5.0.0/16 nhid 4 proto bgp metric 20000
		route add unreachable 10.6.0.0/16 proto bgp metric 4294967293
		route add 2001:db8:5::/48 nhid 5 proto bgp metric 20000`)
	want := []string{
		"10.3.0.0/16 metric 20000 src 10.0.254.2 via 169.254.0.1 dev IfCi1",
		"10.4.0.0/16 metric 20200 via 169.254.0.1 dev IfCi1 via 169.254.0.1 dev ext",
		"10.5.0.0/16 metric 20000 unreachable", "10.6.0.0/16 metric 4294967293 unreachable",
		"2001:db8:5::/48 metric 20000 via fe80::1 dev ext",
	}
	bgp := func() (have []string) {
		for _, r := range g.state(t, ns).Routes {
			if r.Protocol == "bgp" {
				have = append(have, describe(r))
			}
		}
		return have
	}
	if diff := cmp.Diff(want, bgp()); diff != "" {
		t.Error(diff)
	}
	watch.Quiet(t, func() { g.set(t, ns, contoso(t)) }, ns)
	declared := contoso(t).Routes
	// Neither do declared routes of the same prefix have to do with them, nor those that go.
	same := compartments.Route{Prefix: prefix("10.3.0.0/16"), Link: "ext", NextHop: addr("169.254.0.1"), Metric: 9}
	for _, routes := range [][]compartments.Route{declared[1:], append(slices.Clone(declared), same), nil, declared} {
		must(t, g.SetRoutes(t.Context(), ns, routes))
		if diff := cmp.Diff(want, bgp()); diff != "" {
			t.Error(diff)
		}
	}
}
