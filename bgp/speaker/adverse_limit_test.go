package speaker_test

import (
	"net/netip"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// slash24 is the number'th prefix of 24 bits in 11.0.0.0/8.
func slash24(number int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(number >> 8), byte(number), 0}), 24)
}

// A peer that advertises more than it may is warned of once before and then let go, with all that it told, also where its
// routes would be kept for a graceful restart. It is let in again after the time that was declared. The other peer's
// session does not notice.
func TestAPeerWithTooManyPrefixesIsKeptOut(t *testing.T) {
	all := sites(t, 2)
	s := all[0]
	want := config(all)
	want.RestartTime = time.Minute
	want.Peers[0].MaximumPrefixes, want.Peers[0].WarnAt, want.Peers[0].RestartAfter = 100, 75, 3*time.Second
	r := start(t, want)
	other := establish(t, all[1].options())
	send(t, other, all[1].announce(prefix("10.50.0.0/16")))
	options := s.options()
	options.Capabilities = []gobgp.ParameterCapabilityInterface{gobgp.NewCapGracefulRestart(false, false, 4095,
		[]*gobgp.CapGracefulRestartTuple{gobgp.NewCapGracefulRestartTuple(gobgp.RF_IPv4_UC, true)})}
	peer := establish(t, options)
	for i := range 80 {
		send(t, peer, s.announce(slash24(i)))
	}
	testenv.Eventually(t, "80 are there", func() bool { return learned(t, slash24(79)) })
	testenv.Eventually(t, "a warning is logged", func() bool { return r.log.contains(s.name, "limit") })
	if r.peer(t, s.name).State != bgp.Established {
		t.Fatal("the session ended below the limit")
	}
	for i := 80; i < 140; i++ {
		if peer.Send(s.announce(slash24(i))) != nil {
			break
		}
	}
	testenv.Eventually(t, "it is kept out", func() bool { return r.peer(t, s.name).State == bgp.OverLimit })
	testenv.Eventually(t, "nothing of it is left", func() bool {
		for _, p := range kernel(t) {
			if p.Addr().As4()[0] == 11 {
				return false
			}
		}
		return true
	})
	over(t, peer)
	if n := peer.Notification(); n == nil || n.ErrorCode != gobgp.BGP_ERROR_CEASE {
		t.Errorf("the session ended with %+v, want a Cease", n)
	}
	if r.peer(t, s.name).LastError == "" {
		t.Error("no operator is told why")
	}
	again := establish(t, options)
	send(t, again, s.announce(slash24(1)))
	testenv.Eventually(t, "it is let in again", func() bool { return learned(t, slash24(1)) })
	if state := r.peer(t, all[1].name); state.Flaps != 0 || !learned(t, prefix("10.50.0.0/16")) {
		t.Errorf("the other session ended %d times", state.Flaps)
	}
}

// Without a time declared the peer stays out until an operator resets it.
func TestAPeerWithTooManyPrefixesWaitsForAnOperator(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	want := config(all)
	want.Peers[0].MaximumPrefixes, want.Peers[0].WarnAt = 10, 75
	r := start(t, want)
	peer := establish(t, s.options())
	for i := range 20 {
		if peer.Send(s.announce(slash24(i))) != nil {
			break
		}
	}
	testenv.Eventually(t, "it is kept out", func() bool { return r.peer(t, s.name).State == bgp.OverLimit })
	if err := r.Set(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if state := r.peer(t, s.name).State; state != bgp.OverLimit {
		t.Errorf("the same declaration lets it in: %s", state)
	}
	if err := r.Reset(t.Context(), s.name, false); err != nil {
		t.Fatal(err)
	}
	send(t, establish(t, s.options()), s.announce(slash24(1)))
	testenv.Eventually(t, "it is let in", func() bool { return learned(t, slash24(1)) })
}

// Prefixes that are refused count as well: each costs memory.
func TestRefusedPrefixesCountForTheLimit(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	want := config(all)
	want.Peers[0].MaximumPrefixes = 10
	r := start(t, want)
	peer := establish(t, s.options())
	for i := range 20 {
		if peer.Send(rawpeer.Update(nil, rawpeer.Path(s.addr, s.asn, ownASN), slash24(i))) != nil {
			break
		}
	}
	testenv.Eventually(t, "it is kept out", func() bool { return r.peer(t, s.name).State == bgp.OverLimit })
}
