package speaker

import (
	"context"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// graceful gives a peer the capability to start again, after which it kept its routes or did not (RFC 4724, 3).
func graceful(kept bool) func(*rawpeer.Options) {
	return func(o *rawpeer.Options) {
		o.Capabilities = append(o.Capabilities, gobgp.NewCapGracefulRestart(kept, false, 120,
			[]*gobgp.CapGracefulRestartTuple{gobgp.NewCapGracefulRestartTuple(gobgp.RF_IPv4_UC, kept)}))
	}
}

func TestRoutesOfAPeerThatStartsAgainAreKeptUntilItToldThemAgain(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.RestartTime = 120 * time.Second
	s := speaking(t, config)
	peer := sites[0].connect(graceful(false))
	sites[0].tells(peer, "10.3.0.0/24", "10.4.0.0/24")
	must(t, peer.Send(rawpeer.EndOfRIB()))
	goes(t, "10.4.0.0/24", "IfWe1")
	peer.Abort()
	testenv.Eventually(t, "the session's end is shown", func() bool { return stateOf(t, s, "NY").Flaps == 1 })
	routes := routesOf(t, s, bgp.RouteQuery{})
	if len(routes) != 2 || !routes[0].Stale {
		t.Errorf("routes are %+v", routes)
	}
	peer = sites[0].connect(graceful(true))
	sites[0].tells(peer, "10.3.0.0/24")
	must(t, peer.Send(rawpeer.EndOfRIB()))
	goes(t, "10.4.0.0/24", "")
	goes(t, "10.3.0.0/24", "IfWe1")
}

// keeping is a speaker that keeps the route of a site whose router went away without a word.
func keeping(t *testing.T) (*Speaker, *site) {
	t.Helper()
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.RestartTime = 120 * time.Second
	s := speaking(t, config)
	peer := sites[0].connect(graceful(false))
	sites[0].tells(peer, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	peer.Abort()
	testenv.Eventually(t, "the session's end is shown", func() bool { return stateOf(t, s, "NY").Flaps == 1 })
	return s, sites[0]
}

func TestRoutesOfAPeerWhoseTunnelIsGoneAreNotKept(t *testing.T) {
	s, _ := keeping(t)
	s.SetTunnels([]string{"IfWe1"})
	goes(t, "10.3.0.0/24", "")
	if routes := routesOf(t, s, bgp.RouteQuery{}); len(routes) != 0 {
		t.Errorf("routes are %+v", routes)
	}
}

func TestARestartedPeerThatKeptNothingLosesItsRoutesAtOnce(t *testing.T) {
	_, site := keeping(t)
	site.connect(graceful(false))
	goes(t, "10.3.0.0/24", "")
}

func TestASpeakerThatStartsAgainKeepsRoutesUntilAllPeersToldThem(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	config.RestartTime = 120 * time.Second
	s, err := New(Options{Tenant: "Woodgrove"})
	must(t, err)
	must(t, s.Set(t.Context(), config))
	peer := sites[0].connect(graceful(false))
	sites[0].tells(peer, "10.3.0.0/24", "10.4.0.0/24")
	goes(t, "10.4.0.0/24", "IfWe1")
	must(t, s.Close(context.Background(), true))
	if link := kernelRoute(t, "10.4.0.0/24"); link != "IfWe1" {
		t.Errorf("the route goes by %q after the speaker ended", link)
	}
	select {
	case <-peer.Ended():
	case <-time.After(10 * time.Second):
		t.Fatal("the session has not ended")
	}
	if n := peer.Notification(); n != nil {
		t.Errorf("the peer was notified: %+v", n)
	}

	s = speaking(t, config)
	if !s.Status().Restarting {
		t.Error("the speaker does not know that it starts again")
	}
	peer = sites[0].connect(graceful(false))
	sites[0].tells(peer, "10.3.0.0/24")
	must(t, peer.Send(rawpeer.EndOfRIB()))
	other := sites[1].connect(graceful(false))
	if link := kernelRoute(t, "10.4.0.0/24"); link != "IfWe1" {
		t.Errorf("the route goes by %q before all peers told theirs", link)
	}
	must(t, other.Send(rawpeer.EndOfRIB()))
	goes(t, "10.4.0.0/24", "")
	goes(t, "10.3.0.0/24", "IfWe1")
	testenv.Eventually(t, "the restart is over", func() bool { return !s.Status().Restarting })
}

func TestASpeakerThatStartsAfreshSweepsWhatAPredecessorLeft(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.RestartTime = 120 * time.Second
	s, err := New(Options{Tenant: "Woodgrove"})
	must(t, err)
	must(t, s.Set(t.Context(), config))
	peer := sites[0].connect()
	sites[0].tells(peer, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	must(t, s.Close(context.Background(), true))
	config.RestartTime = 0
	speaking(t, config)
	goes(t, "10.3.0.0/24", "")
}
