package gateway

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"bulkhead/compartments"
	"bulkhead/configs"
	"bulkhead/filters"
	"bulkhead/internal/netns"
	"bulkhead/internal/nft"
	"bulkhead/internal/testenv"
	"bulkhead/ratelimit"
	"bulkhead/trigger"
	"bulkhead/vpn"
)

// inForceAs puts a changed plan of Contoso in force and has its loop take it up, which must fail.
func (d *daemon) inForceAs(t *testing.T, change func(*TenantPlan)) {
	t.Helper()
	before, err := d.inForce()
	must(t, err)
	next := translate(before.policy, ifIDs{})
	change(next.tenant("Contoso"))
	d.mu.Lock()
	d.plan = next
	d.mu.Unlock()
	if err := d.Gateway.change(t.Context(), "Contoso", next.tenant("Contoso")); err == nil {
		t.Fatal("the plan is taken up, want one that fails")
	}
}

func TestRoutesOfADeclarationWaitForItsFilters(t *testing.T) {
	d := newMachine(t).open(t)
	d.apply(t, contoso)
	late := netip.MustParsePrefix("10.77.0.0/16")
	d.inForceAs(t, func(p *TenantPlan) {
		p.addRoute(compartments.Route{Prefix: late, NextHop: netip.MustParseAddr("10.0.254.9"), Link: "IfCi1"})
		p.Filters = []filters.Filter{{}} // of no link
	})
	must(t, d.follower("Contoso").follow(t.Context()))
	state, err := d.state(t.Context(), "Contoso")
	must(t, err)
	if links := hops(state, late); len(links) > 0 {
		t.Errorf("%v is routed by %v, and its filters do not stand", late, links)
	}
}

func TestWhatIsNoLongerDeclaredPassesNothingUntilItIsGone(t *testing.T) {
	d := newMachine(t).open(t)
	d.apply(t, contoso)
	d.inForceAs(t, func(p *TenantPlan) {
		p.Compartment.Links = slices.DeleteFunc(p.Compartment.Links, func(l compartments.Link) bool { return l.Name == "IfCi1" })
		p.Limits = []ratelimit.Limit{{Link: "nowhere", TxKbps: 1}}
	})
	state, err := d.state(t.Context(), "Contoso")
	must(t, err)
	for _, l := range state.Links {
		if l.Name != "lo" && l.Up == (l.Name == "IfCi1") {
			t.Errorf("%s is up: %v, want ext alone", l.Name, l.Up)
		}
	}
	d.apply(t, contoso)
	d.wantApplied(t, contoso)
}

func TestASiteThatDialsGivesWayWhileItIsNotConnected(t *testing.T) {
	p := &TenantPlan{
		policy: &policy{}, tenant: &configs.Tenant{},
		VPN:        []vpn.Interface{{Name: "IfWe1", Initiate: vpn.Never}, {Name: "IfWe2", Initiate: vpn.OnDemand}},
		SiteRoutes: []SiteRoute{way("IfWe1 10.1.0.0/24 100"), way("IfWe2 10.1.0.0/24 200")},
	}
	for state, want := range map[vpn.State]int{vpn.Disconnected: 1, vpn.Connecting: 1, vpn.Unreachable: 1, vpn.Connected: 2} {
		got := p.compartment(func(iface string) vpn.State {
			return map[string]vpn.State{"IfWe1": state, "IfWe2": vpn.Connected}[iface]
		}).Routes
		if len(got) != want || got[len(got)-1].Link != "IfWe2" {
			t.Errorf("%s: %v, want %d routes", state, got, want)
		}
	}
}

func TestSessionsAreForgottenUntilItSucceeds(t *testing.T) {
	d := newMachine(t).open(t)
	f := d.follower("Contoso")
	p := &TenantPlan{policy: &policy{}, tenant: &configs.Tenant{}, VPN: []vpn.Interface{{Name: "IfCe1"}}}
	look := func(state vpn.State) int {
		cameUp, err := f.hold(p, func(string) vpn.State { return state }, true)
		must(t, err)
		return len(cameUp)
	}
	if first, again := look(vpn.Connected), look(vpn.Connected); first != 1 || again != 1 {
		t.Errorf("came up %d and %d, want once each", first, again)
	}
	f.settled("IfCe1")
	if look(vpn.Connected) != 0 {
		t.Error("it came up again, and had not been down")
	}
	look(vpn.Disconnected)
	if look(vpn.Connected) != 1 {
		t.Error("it did not come up again")
	}
}

func TestPacketsAreTreatedAsTheDaemonBeforeDidUntilATunnelIsKnown(t *testing.T) {
	d := newMachine(t).open(t)
	ns := testenv.Namespace(t)
	f := d.follower("Contoso")
	f.holdBy(t, ns)
	p := &TenantPlan{policy: &policy{}, tenant: &configs.Tenant{}, VPN: []vpn.Interface{{Name: "IfCe1"}}}
	for _, c := range []struct {
		what  string
		state vpn.State
		known bool
		want  string
	}{
		{"it comes up while others are still told to charon", vpn.Connected, false, "open"},
		{"it is declared anew, and not told to charon yet", "", true, "open"},
		{"charon has not been reached", vpn.Disconnected, false, "open"},
		{"charon says that it is down", vpn.Disconnected, true, "held"},
		{"it is unreachable", vpn.Unreachable, true, "refused"},
	} {
		_, err := f.hold(p, func(string) vpn.State { return c.state }, c.known)
		must(t, err)
		if got := held(t, ns); got != c.want {
			t.Errorf("%s: packets are %s, want %s", c.what, got, c.want)
		}
	}
}

// holdBy gives the follower a trigger for IfCe1, which is closed with it.
func (f *follower) holdBy(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	held, err := trigger.Open(ns, trigger.Options{Log: f.g.log, Wanted: func(string) {}})
	must(t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trigger = held
	must(t, held.Set([]string{"IfCe1"}))
}

// held is what happens to packets into IfCe1.
func held(t *testing.T, ns *netns.Namespace) string {
	t.Helper()
	chains, err := nft.ReadChains(ns, "bulkhead-trigger", "links")
	must(t, err)
	return chains["IfCe1"]
}

func TestPacketsOfATunnelThatIsUpDoNotWaitForARouteThatFails(t *testing.T) {
	d := newMachine(t).open(t)
	d.apply(t, contoso)
	f, ns := d.follower("Contoso"), d.compartment(t, "Contoso")
	f.holdBy(t, ns)
	f.following.Lock()
	f.adopted = map[string]vpn.State{"IfCe1": vpn.Connected}
	f.plan.VPN = []vpn.Interface{{Name: "IfCe1"}}
	f.plan.addRoute(compartments.Route{Prefix: netip.MustParsePrefix("10.77.0.0/16"), Link: "nowhere"})
	f.following.Unlock()
	if err := f.follow(t.Context()); err == nil {
		t.Error("the route by a link that is not there did not fail")
	}
	if got := held(t, ns); got != "open" {
		t.Errorf("packets are %s, want open", got)
	}
}

// The events of all tenants pass by each follower in turn.
func TestATenantThatIsWorkedOnHoldsUpNoEvents(t *testing.T) {
	d := newMachine(t).open(t)
	f := d.follower("Contoso")
	f.mu.Lock() // as while its trigger is made
	defer f.mu.Unlock()
	f.heard(vpn.Event{Tenant: "Contoso", Interface: "IfCe1", Kind: vpn.Up, Peer: "198.51.100.7:500"})
	if peer := f.peer("IfCe1"); peer != netip.MustParseAddr("198.51.100.7") {
		t.Errorf("the peer is at %v", peer)
	}
	f.heard(vpn.Event{Tenant: "Contoso", Interface: "IfCe2", Kind: vpn.Up, Peer: "[fe80::1%If2]:500"})
	if peer := f.peer("IfCe2"); peer.IsValid() {
		t.Errorf("the neighbour %v would be bounded", peer)
	}
}

func TestTheDaemonEndsWhileAllTunnelsGoDown(t *testing.T) {
	d := newMachine(t).open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, d.routeEvents(ctx, func(context.Context) error {
		for range 10 * cap(d.events) {
			d.events <- vpn.Event{Tenant: "Contoso", Interface: "IfCe1", Kind: vpn.Down}
		}
		return nil
	}))
}
