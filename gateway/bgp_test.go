package gateway

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/fib"
	"bulkhead/configs"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
	"bulkhead/vpn"
)

// bgpYAML has a machine of the virtual network as the peer: no tunnel is needed for it.
const bgpYAML = `  bgp:
    identifier: 10.0.254.2
    asn: 65412
    peers:
      - {name: VM, localAddress: 10.0.254.2, address: 10.0.254.9, asn: 65413}
      - {name: Manual, localAddress: 10.0.254.2, address: 10.0.254.10, asn: 65414, peeringMode: Manual}
    customRoutes: [{interface: IfCi1}, {prefix: 192.0.2.0/24}]
`

// speaks waits until the named tenants, and no others, have a speaker that runs, and returns its process for each.
func (d *daemon) speaks(t *testing.T, tenants ...string) map[string]int {
	t.Helper()
	pids := map[string]int{}
	testenv.Eventually(t, fmt.Sprintf("the speakers of %v run", tenants), func() bool {
		rows, err := d.BGP(t.Context(), BGPQuery{})
		must(t, err)
		clear(pids)
		for _, r := range rows {
			if r.State == "running" {
				pids[r.Tenant] = r.PID
			}
		}
		return len(rows) == len(tenants) && slices.Equal(slices.Sorted(maps.Keys(pids)), tenants)
	})
	return pids
}

func TestSpeakersOfTenantsAlikeRunEachInItsCompartment(t *testing.T) {
	d := newMachine(t).open(t)
	must(t, d.takeFolder(t.Context(), folder(t, contoso.yaml()+bgpYAML, woodgrove.yaml()+bgpYAML)))
	for tenant, pid := range d.speaks(t, "Contoso", "Woodgrove") {
		theirs, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		must(t, err)
		if !theirs.Equal(d.compartment(t, tenant)) {
			t.Errorf("the speaker of %s, process %d, is in another namespace", tenant, pid)
		}
		theirs.Close()
	}
	var advertised []string
	routes, err := d.BGPRoutes(t.Context(), BGPQuery{Tenant: "Contoso"})
	must(t, err)
	for _, r := range routes {
		advertised = append(advertised, r.Prefix.String())
	}
	slices.Sort(advertised)
	if got := strings.Join(advertised, " "); got != "10.0.0.0/24 10.0.254.0/24 192.0.2.0/24" {
		t.Errorf("custom routes are %s", got)
	}
	if _, err := d.BGPPeers(t.Context(), BGPQuery{Tenant: "Litware"}); err == nil || !strings.Contains(err.Error(), "Contoso Woodgrove") {
		t.Errorf("peers of nobody: %v", err)
	}
}

func TestASpeakerOutlivesTheDaemonAndEndsWithItsDeclarationAlone(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	dir := folder(t, contoso.yaml()+bgpYAML, woodgrove.yaml()+bgpYAML)
	must(t, d.takeFolder(t.Context(), dir))
	before := d.speaks(t, "Contoso", "Woodgrove")
	d.stop()

	d = m.open(t)
	must(t, d.takeFolder(t.Context(), dir))
	after := d.speaks(t, "Contoso", "Woodgrove")
	if after["Contoso"] != before["Contoso"] || after["Woodgrove"] != before["Woodgrove"] {
		t.Errorf("processes were %v and are %v", before, after)
	}

	must(t, d.takeFolder(t.Context(), folder(t, contoso.yaml(), woodgrove.yaml()+bgpYAML)))
	if left := d.speaks(t, "Woodgrove"); left["Woodgrove"] != before["Woodgrove"] {
		t.Errorf("the process was %v and is %v", before, left)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", before["Contoso"])); err == nil {
		t.Error("the speaker of Contoso lives")
	}
}

func TestASpeakerThatNobodyDeclaresIsSweptWithItsCompartment(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	must(t, d.takeFolder(t.Context(), folder(t, contoso.yaml()+bgpYAML)))
	pid := d.speaks(t, "Contoso")["Contoso"]
	d.stop()
	d = m.open(t)
	must(t, d.takeFolder(t.Context(), folder(t)))
	d.wantApplied(t)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		t.Error("the speaker lives")
	}
}

func TestWhetherAPeerIsStartedIsTheOperatorsAndOutlivesTheDaemon(t *testing.T) {
	m := newMachine(t)
	d := m.open(t)
	dir := folder(t, contoso.yaml()+bgpYAML)
	must(t, d.takeFolder(t.Context(), dir))
	stopped := func(want ...string) {
		t.Helper()
		testenv.Eventually(t, fmt.Sprintf("the stopped peers are %v", want), func() bool {
			peers, err := d.BGPPeers(t.Context(), BGPQuery{})
			must(t, err)
			var have []string
			for _, p := range peers {
				if p.State == bgp.Stopped {
					have = append(have, p.Peer)
				}
			}
			return slices.Equal(have, want)
		})
	}
	change := func(statement string) {
		t.Helper()
		must(t, d.Change(t.Context(), "Contoso", parse(t, statement)))
	}
	stopped("Manual")
	change("bgp-peer VM stopped")
	stopped("VM", "Manual")
	change("bgp-peer Manual started")
	stopped("VM")
	d.stop()
	d = m.open(t)
	must(t, d.takeFolder(t.Context(), dir))
	stopped("VM")
	if text, err := os.ReadFile(filepath.Join(dir, "Contoso.policy")); err != nil || !strings.Contains(string(text), "VM stopped") {
		t.Errorf("the policy file says %q: %v", text, err)
	}
	change("no bgp-peer VM")
	change("no bgp-peer Manual")
	stopped("Manual")
}

func TestBGPCountsOnTunnelsThatAreConnectedOnly(t *testing.T) {
	states := map[string]vpn.State{
		"IfWe1": vpn.Connected, "IfWe2": vpn.Unreachable, "IfWe3": vpn.Connecting, "IfWe4": vpn.Disconnected,
	}
	tunnels := map[string]bool{"IfWe1": true, "IfWe2": true, "IfWe3": true, "IfWe4": false, "IfWe5": true}
	down := tunnelsDown(tunnels, func(iface string) vpn.State { return states[iface] })
	if !slices.Equal(down, []string{"IfWe2", "IfWe3", "IfWe4"}) { // of IfWe5 nothing is known
		t.Errorf("down are %v", down)
	}
}

// Law 5; connected routes have metric 0 (256 in IPv6).
func TestTheOrderOfPreferenceIsThatOfTheMetrics(t *testing.T) {
	order := []uint32{
		configs.MaxMetric, fib.MetricExternal, fib.MetricInternal, fib.MetricWithdrawn, metricUnreachable, metricNAT,
	}
	if !slices.IsSorted(order) || len(slices.Compact(order)) != 6 {
		t.Errorf("declared, external, internal, withdrawn, unreachable and NAT have the metrics %v", order)
	}
}
