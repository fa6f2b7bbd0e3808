package speaker

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"
)

// What is declared otherwise of one peer, or of all of the router, ends no session that need not end for it.
func TestASessionEndsForWhatItsOwnOpenDependsOnOnly(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	signed := func(o *rawpeer.Options) { o.Password = "secret of " + o.Local.String() }
	for i := range config.Peers {
		config.Peers[i].Password = bgp.Secret("secret of " + config.Peers[i].Address.String())
	}
	config.MaximumPaths = 2
	s := speaking(t, config)
	peer, other := sites[0].connect(signed), sites[1].connect(signed)
	up(t, s, "NY")
	up(t, s, "SFO")
	med := uint32(7)
	for _, step := range []struct {
		what   string
		ends   bool
		change func(c *bgp.Config, ny *bgp.Peer)
	}{
		{"timers", false, func(_ *bgp.Config, ny *bgp.Peer) {
			ny.HoldTime, ny.KeepaliveInterval, ny.ConnectRetry = 60*time.Second, 20*time.Second, 3*time.Second
		}},
		{"the limit of prefixes", false, func(_ *bgp.Config, ny *bgp.Peer) { ny.MaximumPrefixes, ny.WarnAt = 10, 50 }},
		{"what may be claimed", false, func(_ *bgp.Config, ny *bgp.Peer) { ny.AcceptDefault, ny.AllowOwnASN = true, 2 }},
		{"the next hop that is told", false, func(_ *bgp.Config, ny *bgp.Peer) { ny.NextHopSelf = true }},
		{"a policy", false, func(c *bgp.Config, ny *bgp.Peer) {
			c.Policies = []bgp.Policy{{Name: "far", Statements: []bgp.Statement{{MED: &med, Action: bgp.Accept}}}}
			ny.Import, ny.Export = []string{"far"}, []string{"far"}
		}},
		{"custom routes", false, func(c *bgp.Config, _ *bgp.Peer) {
			c.Networks, c.Interfaces = parsed([]string{"10.0.0.0/24"}), []string{"IfWe2"}
		}},
		{"transit, ECMP, virtual subnets, sources", false, func(c *bgp.Config, _ *bgp.Peer) {
			c.Transit, c.MaximumPaths, c.Guard = true, 4, true
			c.Inside, c.Sources = parsed([]string{"10.0.77.0/24"}), []netip.Addr{ours, ours6}
		}},
		{"the cluster", false, func(c *bgp.Config, _ *bgp.Peer) { c.ClusterID = sfo }},
		{"the order of peers and a new one", false, func(c *bgp.Config, _ *bgp.Peer) {
			third := c.Peers[0]
			third.Name, third.Address, third.Password = "LA", netip.MustParseAddr("10.3.0.1"), ""
			c.Peers = append([]bgp.Peer{third}, c.Peers...)
		}},
		{"BFD", false, func(_ *bgp.Config, ny *bgp.Peer) {
			ny.BFD = &bgp.BFD{Transmit: time.Second, Receive: time.Second, Multiplier: 3}
		}},
		{"the password", true, func(_ *bgp.Config, ny *bgp.Peer) { ny.Password = "another" }},
	} {
		next := *config
		next.Peers = slices.Clone(config.Peers)
		step.change(&next, &next.Peers[0])
		must(t, s.Set(t.Context(), &next))
		must(t, s.Set(t.Context(), &next)) // nothing is new
		if step.ends {
			<-peer.Ended()
		} else if state := stateOf(t, s, "NY"); state.State != bgp.Established || state.Flaps != 0 {
			t.Errorf("%s: NY is shown as %+v", step.what, state)
		}
		if state := stateOf(t, s, "SFO"); state.State != bgp.Established || state.Flaps != 0 {
			t.Fatalf("%s: SFO is shown as %+v", step.what, state)
		}
		config = &next
		if i := slices.IndexFunc(config.Peers, func(p bgp.Peer) bool { return p.Name == "NY" }); i > 0 {
			config.Peers = config.Peers[i:]
		}
	}
	sites[0].connect(func(o *rawpeer.Options) { o.Password = "another" })
	up(t, s, "NY")
	must(t, s.Reset(t.Context(), "SFO", false))
	<-other.Ended()
	sites[1].connect(signed)
	testenv.Eventually(t, "the signed session is back after a reset", func() bool {
		return stateOf(t, s, "SFO").State == bgp.Established
	})
}

// What one mistake kept from being brought about is, once the mistake is gone.
func TestAChangeThatFailedHalfwayIsBroughtAboutWithTheNext(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	s := speaking(t, config)
	sites[0].connect()
	up(t, s, "NY")
	wrong := *config
	wrong.RestartTime = 2 * time.Minute
	wrong.Policies = []bgp.Policy{{Name: "wrong", Statements: []bgp.Statement{{Communities: []string{"("}, Action: bgp.Accept}}}}
	wrong.Peers = slices.Clone(config.Peers)
	wrong.Peers[0].Import = []string{"wrong"}
	if err := s.Set(t.Context(), &wrong); err == nil {
		t.Error("half of an expression was taken for one")
	}
	if state := stateOf(t, s, "NY"); state.State != bgp.Established || state.Flaps != 0 {
		t.Errorf("NY is shown as %+v", state)
	}
	right := wrong
	right.Policies, right.Peers = nil, config.Peers
	must(t, s.Set(t.Context(), &right))
	// A graceful restart is agreed on when a session starts.
	testenv.Eventually(t, "the session that knows of no graceful restart ends", func() bool { return stateOf(t, s, "NY").Flaps == 1 })
}
