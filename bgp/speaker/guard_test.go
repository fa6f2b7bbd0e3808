package speaker

import (
	"net/netip"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"
)

func TestASessionWithAPasswordIsSignedAndNoOtherComesUp(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.Peers[0].Password = "correct horse"
	s := speaking(t, config)
	for _, wrong := range []string{"", "wrong"} {
		options := sites[0].options()
		options.Password = wrong
		if peer, err := rawpeer.Dial(t.Context(), options); err == nil {
			peer.Close()
			t.Errorf("a connection with the password %q came about", wrong)
		}
	}
	peer := sites[0].connect(func(o *rawpeer.Options) { o.Password = "correct horse" })
	up(t, s, "NY")
	if state := stateOf(t, s, "NY"); state.MD5 != "on" {
		t.Errorf("the signature is shown as %q", state.MD5)
	}
	peer.Close()

	// Another password, then none: each holds from then on, for who dials us too.
	changed := configOf(sites...)
	changed.Peers[0].Password = "battery staple"
	must(t, s.Set(t.Context(), changed))
	sites[0].connect(func(o *rawpeer.Options) { o.Password = "battery staple" }).Close()
	testenv.Eventually(t, "the session's end is shown", func() bool { return stateOf(t, s, "NY").Flaps == 2 })
	must(t, s.Set(t.Context(), configOf(sites...)))
	sites[0].connect()
	up(t, s, "NY")
	if state := stateOf(t, s, "NY"); state.MD5 != "" {
		t.Errorf("the signature is shown as %q", state.MD5)
	}
}

func TestAPeerWithTooManyPrefixesIsKeptOutForAsLongAsDeclared(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.Peers[0].MaximumPrefixes, config.Peers[0].WarnAt = 2, 50
	s := speaking(t, config)
	peer := sites[0].connect()
	sites[0].tells(peer, "10.3.0.0/24", "10.4.0.0/24", "10.5.0.0/24")
	testenv.Eventually(t, "the peer is over its limit", func() bool { return stateOf(t, s, "NY").State == bgp.OverLimit })
	goes(t, "10.3.0.0/24", "")
	if state := stateOf(t, s, "NY"); state.LastError != "3 prefixes, of 2 that it may have" {
		t.Errorf("shown as %+v", state)
	}
	must(t, s.Set(t.Context(), config)) // the same declaration does not let it in
	if state := stateOf(t, s, "NY"); state.State != bgp.OverLimit {
		t.Errorf("an unchanged declaration made it %s", state.State)
	}
	must(t, s.Reset(t.Context(), "NY", false))
	peer = sites[0].connect()
	sites[0].tells(peer, "10.3.0.0/24", "10.4.0.0/24")
	goes(t, "10.4.0.0/24", "IfWe1")

	again := configOf(sites...)
	again.Peers[0].MaximumPrefixes, again.Peers[0].RestartAfter = 2, 100*time.Millisecond
	must(t, s.Set(t.Context(), again))
	sites[0].tells(peer, "10.5.0.0/24")
	<-peer.Ended()
	peer = sites[0].connect()
	sites[0].tells(peer, "10.6.0.0/24")
	goes(t, "10.6.0.0/24", "IfWe1")
}

func TestAStoppedPeerIsLeftAlone(t *testing.T) {
	sites := compartment(t, ny)
	s := speaking(t, configOf(sites...))
	peer := sites[0].connect()
	sites[0].tells(peer, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	stopped := configOf(sites...)
	stopped.Peers[0].Stopped = true
	must(t, s.Set(t.Context(), stopped))
	goes(t, "10.3.0.0/24", "")
	<-peer.Ended()
	if state := stateOf(t, s, "NY"); state.State != bgp.Stopped || state.LastError != "stopped by an operator" {
		t.Errorf("shown as %+v", state)
	}
	if err := s.Reset(t.Context(), "NY", false); err == nil {
		t.Error("a reset of a stopped peer did not fail")
	}
	must(t, s.Set(t.Context(), configOf(sites...)))
	sites[0].connect()
	up(t, s, "NY")
}

func TestAPeerThatIsFartherAwayThanDeclaredIsNotHeard(t *testing.T) {
	for _, peer := range []netip.Addr{ny, netip.MustParseAddr("fd01::1")} {
		t.Run(peer.String(), func(t *testing.T) {
			sites := compartment(t, peer)
			config := configOf(sites...)
			config.Peers[0].SecurityHops = 1
			options := sites[0].options()
			if peer.Is6() {
				config.Peers[0].LocalAddress, options.Remote, options.Identifier = ours6, ours6, ny
			}
			s := speaking(t, config)
			options.TTL = 254
			if peer, err := rawpeer.Dial(t.Context(), options); err == nil {
				peer.Close()
				t.Error("a connection with a TTL of 254 came about")
			}
			sites[0].connect(func(o *rawpeer.Options) {
				*o = options
				o.TTL = 255
			})
			up(t, s, "NY")
		})
	}
}

func TestAChangeOfOnePeerLeavesTheOthersSession(t *testing.T) {
	sites := compartment(t, ny, sfo)
	s := speaking(t, configOf(sites...))
	sites[0].connect()
	other := sites[1].connect()
	up(t, s, "NY")
	up(t, s, "SFO")
	changed := configOf(sites...)
	changed.Peers[1].Hops = 3
	changed.Peers[0].KeepaliveInterval = 20 * time.Second
	must(t, s.Set(t.Context(), changed))
	<-other.Ended()
	if state := stateOf(t, s, "NY"); state.Flaps != 0 || state.State != bgp.Established {
		t.Errorf("NY is shown as %+v", state)
	}
	sites[1].connect()
	up(t, s, "SFO")
	gone := configOf(sites[0])
	must(t, s.Set(t.Context(), gone))
	if peers, _ := s.Peers(t.Context()); len(peers) != 1 || peers[0].Flaps != 0 {
		t.Errorf("peers are %+v", peers)
	}
}
