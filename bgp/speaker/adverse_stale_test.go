package speaker_test

import (
	"testing"
	"time"

	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// graceful is the capability of a peer whose routes are to be kept for that many seconds while it starts again.
func graceful(seconds uint16, keeps bool) []gobgp.ParameterCapabilityInterface {
	return []gobgp.ParameterCapabilityInterface{gobgp.NewCapGracefulRestart(false, false, seconds,
		[]*gobgp.CapGracefulRestartTuple{gobgp.NewCapGracefulRestartTuple(gobgp.RF_IPv4_UC, keeps)})}
}

// staleRoute is of a peer that told it, agreed to a graceful restart, and went away without a word.
func staleRoute(t *testing.T, restartTime time.Duration) *site {
	t.Helper()
	all := sites(t, 1)
	s := all[0]
	want := config(all)
	want.RestartTime = restartTime
	r := start(t, want)
	options := s.options()
	options.Capabilities = graceful(4095, true)
	peer := establish(t, options)
	send(t, peer, s.announce(prefix("10.30.0.0/16")), rawpeer.EndOfRIB())
	testenv.Eventually(t, "the route is there", func() bool { return learned(t, prefix("10.30.0.0/16")) })
	peer.Abort()
	testenv.Eventually(t, "the session is over", func() bool { return r.peer(t, s.name).Flaps == 1 })
	if !learned(t, prefix("10.30.0.0/16")) {
		t.Fatal("the route is not kept")
	}
	return s
}

// The time for which a peer's routes are kept is ours: a peer that asks for more than an hour and does not come back is
// gone after the restart time that is declared.
func TestStaleRoutesGoWhenOurTimeIsOver(t *testing.T) {
	staleRoute(t, 3*time.Second)
	testenv.Eventually(t, "the route is gone", func() bool { return !learned(t, prefix("10.30.0.0/16")) })
}

// A peer that comes back without the capability has not kept what it forwards by: its routes go at once (RFC 4724, 4.2).
func TestStaleRoutesGoWhenThePeerForgotThem(t *testing.T) {
	s := staleRoute(t, time.Minute)
	testenv.Eventually(t, "the route is gone after the peer was heard", func() bool {
		peer, err := rawpeer.Dial(t.Context(), s.options())
		if err != nil {
			return false
		}
		defer peer.Close()
		return peer.Establish() == nil && eventuallyGone(t)
	})
}

// eventuallyGone waits until the stale route is gone.
func eventuallyGone(t *testing.T) bool {
	testenv.Eventually(t, "the route is gone", func() bool { return !learned(t, prefix("10.30.0.0/16")) })
	return true
}

// A peer that comes back, keeps its session and never says that it told all does not keep stale routes for ever.
func TestStaleRoutesGoWithoutAnEndOfRIB(t *testing.T) {
	s := staleRoute(t, 8*time.Second)
	options := s.options()
	options.Capabilities = graceful(4095, true)
	establish(t, options)
	testenv.Eventually(t, "the route is gone", func() bool { return !learned(t, prefix("10.30.0.0/16")) })
}
