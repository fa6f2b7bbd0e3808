package speaker_test

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// What changes while sessions come up reaches their peers too: no route is missing, and none that is gone stays with them.
func TestRoutesThatChangeWhileSessionsComeUpAreToldToThem(t *testing.T) {
	const newcomers, inFlight, standing, rounds = 24, 100, 500, 4
	all := sites(t, 2+newcomers)
	want := config(all)
	want.Transit = true
	start(t, want)
	talker, witness := establish(t, all[0].options()), establishListener(t, all[1].options())
	// No prefix comes twice, so that what is missed once is missed for good. Those with an odd number go again.
	last := 0
	turn := func() {
		var gone []netip.Prefix
		if old := last - inFlight; old >= 0 && old%2 == 1 {
			gone = append(gone, numbered(old))
		}
		send(t, talker, rawpeer.Update(gone, rawpeer.Path(all[0].addr, all[0].asn), numbered(last)))
		if last%2 == 0 {
			testenv.Eventually(t, "the other peer keeps up", func() bool {
				return witness.standing()[numbered(max(last-inFlight, 0))]
			})
		}
		last++
	}
	for last < standing {
		turn()
	}
	for range rounds {
		// All at once, so that what a session's coming up takes is spread out.
		list := make([]*listener, newcomers)
		var coming sync.WaitGroup
		for i := range list {
			coming.Go(func() { list[i] = establishListener(t, all[2+i].options()) })
		}
		came := make(chan struct{})
		go func() { coming.Wait(); close(came) }()
		for there := false; !there; {
			turn()
			select {
			case <-came:
				there = true
			default:
			}
		}
		if t.Failed() {
			return
		}
		for _, l := range append(list, witness) {
			l.knows(t, func(number int) bool { return number < last && (number%2 == 0 || number >= last-inFlight) })
		}
		for _, l := range list {
			l.peer.Close()
		}
	}
}

// What a session could not be told any more is not told in the next one, whether or not the peer's routes are kept
// meanwhile (RFC 4724).
func TestASessionIsNotToldWhatTheLastOneWasToHear(t *testing.T) {
	for name, restart := range map[string]time.Duration{"fresh": 0, "graceful": 15 * time.Second} {
		t.Run(name, func(t *testing.T) {
			const routes = 3000
			all := sites(t, 3)
			want := config(all)
			want.Transit, want.RestartTime = true, restart
			r := start(t, want)
			talker, witness := establish(t, all[0].options()), establishListener(t, all[1].options())
			options := all[2].options()
			if restart > 0 {
				options.Capabilities = graceful(60, true)
			}
			hard := options
			hard.Deaf = true
			deaf := establish(t, hard)
			for n := range routes {
				many := make([]uint32, 200)
				many[0] = uint32(n) // or one message would tell all
				send(t, talker, rawpeer.Update(nil, append(rawpeer.Path(all[0].addr, all[0].asn), rawpeer.Communities(many...)), numbered(n)))
			}
			witness.knows(t, func(n int) bool { return n < routes })
			deaf.Abort()
			testenv.Eventually(t, "the session is over", func() bool { return r.peer(t, all[2].name).Flaps == 1 })
			for n := range routes / 2 {
				send(t, talker, rawpeer.Update([]netip.Prefix{numbered(2 * n)}, nil))
			}
			there := func(n int) bool { return n < routes && n%2 == 1 }
			witness.knows(t, there)
			establishListener(t, options).knows(t, there)
		})
	}
}

func numbered(n int) netip.Prefix {
	address := binary.BigEndian.AppendUint32(nil, 11<<24+uint32(n))
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(address)), 32)
}

// listener keeps what a peer was told. It establishes a session again that ends.
type listener struct {
	t       *testing.T
	options rawpeer.Options
	peer    *rawpeer.Peer
	heard   int
	there   map[netip.Prefix]bool
}

func establishListener(t *testing.T, options rawpeer.Options) *listener {
	t.Helper()
	return &listener{t: t, options: options, peer: establish(t, options), there: map[netip.Prefix]bool{}}
}

// knows waits until the peer knows exactly the prefixes whose number is there, of those that are numbered.
func (l *listener) knows(t *testing.T, there func(int) bool) {
	t.Helper()
	missing, left := 0, 0
	defer func() {
		if missing+left > 0 {
			t.Errorf("it does not know of %d that are there, and knows of %d that are not", missing, left)
		}
	}()
	testenv.Eventually(t, "the peer knows what is there", func() bool {
		told := l.standing()
		missing, left = 0, 0
		for n := 0; there(n) || there(n+1) || n < len(told); n++ {
			switch {
			case there(n) && !told[numbered(n)]:
				missing++
			case told[numbered(n)] && !there(n):
				left++
			}
		}
		return missing == 0 && left == 0
	})
}

// standing are the prefixes that the peer knows now.
func (l *listener) standing() map[netip.Prefix]bool {
	select {
	case <-l.peer.Ended():
		*l = *establishListener(l.t, l.options)
	default:
	}
	all := l.peer.Heard()
	for _, message := range all[l.heard:] {
		update, ok := message.Body.(*gobgp.BGPUpdate)
		if !ok {
			continue
		}
		for _, route := range update.WithdrawnRoutes {
			delete(l.there, netip.MustParsePrefix(route.NLRI.String()))
		}
		for _, route := range update.NLRI {
			l.there[netip.MustParsePrefix(route.NLRI.String())] = true
		}
	}
	l.heard = len(all)
	return l.there
}
