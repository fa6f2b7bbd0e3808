package speaker

import (
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
)

func TestTheSpeakerDialsUnlessThePeerIsToDoIt(t *testing.T) {
	sites := compartment(t, ny, sfo)
	config := configOf(sites...)
	config.Peers[1].Passive = true
	var listeners []*rawpeer.Listener
	for _, site := range sites {
		listener, err := rawpeer.Await(site.options())
		must(t, err)
		defer listener.Close()
		listeners = append(listeners, listener)
	}
	dialed := make(chan struct{})
	go func() {
		if peer, err := listeners[1].Accept(); err == nil {
			peer.Close()
			close(dialed)
		}
	}()
	s := speaking(t, config)
	peer, err := listeners[0].Accept()
	must(t, err)
	defer peer.Close()
	must(t, peer.Establish())
	sites[0].tells(peer, "10.3.0.0/24")
	goes(t, "10.3.0.0/24", "IfWe1")
	up(t, s, "NY")
	if state := stateOf(t, s, "SFO"); state.State == bgp.Established {
		t.Errorf("shown as %+v", state)
	}
	select {
	case <-dialed:
		t.Error("the speaker dialed a peer that dials itself")
	default:
	}
}

func TestASessionIsBackSoonAfterAReset(t *testing.T) {
	sites := compartment(t, ny)
	s := speaking(t, configOf(sites...))
	listener, err := rawpeer.Await(sites[0].options())
	must(t, err)
	defer listener.Close()
	for i := range 2 {
		peer, err := listener.Accept()
		must(t, err)
		defer peer.Close()
		must(t, peer.Establish())
		up(t, s, "NY")
		if i > 0 {
			break
		}
		must(t, s.Reset(t.Context(), "NY", false))
		<-peer.Ended()
	}
	if state := stateOf(t, s, "NY"); state.Flaps != 1 || state.LastError != "reset by an operator" {
		t.Errorf("shown as %+v", state)
	}
	must(t, s.Reset(t.Context(), "NY", true))
	if state := stateOf(t, s, "NY"); state.Flaps != 1 || state.State != bgp.Established {
		t.Errorf("a soft reset made it %+v", state)
	}
}
