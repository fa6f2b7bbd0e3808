package speaker

import (
	"testing"

	"bulkhead/bgp"
	"bulkhead/internal/testenv"
)

func TestRoutesOfAPeerComeIntoTheKernelAndGoWithItsSession(t *testing.T) {
	sites := compartment(t, ny)
	s := speaking(t, configOf(sites...))
	peer := sites[0].connect()
	sites[0].tells(peer, "10.1.1.0/24", "10.1.2.0/24")
	goes(t, "10.1.1.0/24", "IfWe1")
	goes(t, "10.1.2.0/24", "IfWe1")
	up(t, s, "NY")
	state := stateOf(t, s, "NY")
	if state.State != bgp.Established || state.Families[0].Received != 2 || state.PeerIdentifier != ny {
		t.Errorf("peer is shown as %+v", state)
	}
	peer.Close()
	goes(t, "10.1.1.0/24", "")
	goes(t, "10.1.2.0/24", "")
	testenv.Eventually(t, "the end of the session is shown", func() bool {
		state := stateOf(t, s, "NY")
		return state.State != bgp.Established && state.Flaps == 1 && state.LastError != ""
	})
}
