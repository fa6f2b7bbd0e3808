package speaker

import (
	"syscall"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/internal/testenv"
)

func TestBFDEndsTheSessionOfAPeerThatFallsSilentAlsoWhereItsRoutesWouldBeKept(t *testing.T) {
	sites := compartment(t, ny)
	watched := &bgp.BFD{Transmit: 100 * time.Millisecond, Receive: 100 * time.Millisecond, Multiplier: 3}
	config := configOf(sites...)
	config.Peers[0].BFD = watched
	config.RestartTime = 2 * time.Minute
	s := speaking(t, config)
	far := sites[0].speaks(func(c *bgp.Config) {
		c.Peers[0].BFD = watched
		c.RestartTime = 2 * time.Minute
	}, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	testenv.Eventually(t, "BFD is up", func() bool { return stateOf(t, s, "NY").BFD == "up" })
	must(t, far.Signal(syscall.SIGSTOP))
	goes(t, "10.3.0.0/24", "")
	state := stateOf(t, s, "NY")
	if state.State == bgp.Established || state.LastError != "BFD says that the peer is gone" {
		t.Errorf("shown as %+v", state)
	}
	must(t, far.Signal(syscall.SIGCONT))
	goes(t, "10.3.0.0/24", "IfWe1")
}

func TestThePeerWhoseHoldTimerRanOutIsGoneAlsoWhereItsRoutesWouldBeKept(t *testing.T) {
	sites := compartment(t, ny)
	config := configOf(sites...)
	config.Peers[0].HoldTime, config.Peers[0].KeepaliveInterval = 3*time.Second, time.Second
	config.RestartTime = 2 * time.Minute
	s := speaking(t, config)
	far := sites[0].speaks(func(c *bgp.Config) { c.RestartTime = 2 * time.Minute }, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	must(t, far.Signal(syscall.SIGSTOP))
	goes(t, "10.3.0.0/24", "")
	if state := stateOf(t, s, "NY"); state.LastError != "hold timer expired" {
		t.Errorf("shown as %+v", state)
	}
}
