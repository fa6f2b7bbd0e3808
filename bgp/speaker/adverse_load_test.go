package speaker_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// witness is a peer that does nothing wrong while another does.
type witness struct {
	*site
	t    *testing.T
	peer *rawpeer.Peer
}

func witnessOf(t *testing.T, s *site) witness {
	t.Helper()
	w := witness{s, t, establish(t, s.options())}
	w.heard("10.50.0.0/16")
	return w
}

// heard waits until a route that the witness tells now is in the kernel.
func (w witness) heard(p string) {
	w.t.Helper()
	send(w.t, w.peer, w.announce(prefix(p)))
	testenv.Eventually(w.t, "the witness's route is there", func() bool { return learned(w.t, prefix(p)) })
}

// unhurt looks whether the witness's session and routes are what they were.
func (w witness) unhurt(r *running) {
	w.t.Helper()
	if state := r.peer(w.t, w.name); state.State != bgp.Established || state.Flaps != 0 || w.peer.Notification() != nil {
		w.t.Errorf("the witness's session is %s and ended %d times", state.State, state.Flaps)
	}
	if !learned(w.t, prefix("10.50.0.0/16")) {
		w.t.Error("the witness's route is gone")
	}
}

// A peer that announces and withdraws as fast as it can is followed to its last word, and another's new route comes through
// meanwhile.
func TestAFloodOfUpdatesKeepsNobodyElseWaiting(t *testing.T) {
	all := sites(t, 2)
	want := config(all)
	want.Transit = true
	r := start(t, want)
	w := witnessOf(t, all[1])
	s := all[0]
	peer := establish(t, s.options())
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for round := uint32(0); ; round++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			metric := rawpeer.Attribute(rawpeer.Optional, gobgp.BGP_ATTR_TYPE_MULTI_EXIT_DISC, rawpeer.Words(round))
			var burst []byte
			for i := range 500 {
				burst = append(burst, rawpeer.Update(nil, append(rawpeer.Path(s.addr, s.asn), metric), slash24(i))...)
				if i%2 == 0 {
					burst = append(burst, rawpeer.Update([]netip.Prefix{slash24(i)}, nil)...)
				}
			}
			if err := peer.Send(burst); err != nil {
				done <- err
				return
			}
		}
	}()
	testenv.Eventually(t, "20,000 updates came", func() bool { return r.peer(t, s.name).Received.Update > 20000 })
	w.heard("10.51.0.0/16")
	close(stop)
	if err := <-done; err != nil {
		t.Fatal("the flood was cut off:", err)
	}
	send(t, peer, s.announce(prefix("10.30.0.0/16")))
	testenv.Eventually(t, "its last word is heard", func() bool {
		return learned(t, prefix("10.30.0.0/16")) && learned(t, slash24(1)) && !learned(t, slash24(0))
	})
	w.unhurt(r)
}

// A peer whose sessions come and go, and which opens connections as fast as it can, leaves nothing behind: no descriptor,
// no route. It has a session again as soon as it behaves.
func TestAPeerThatComesAndGoesLeavesNothing(t *testing.T) {
	all := sites(t, 2)
	r := start(t, config(all))
	w := witnessOf(t, all[1])
	s := all[0]
	before := descriptors(t)
	for range 3 {
		peer := establish(t, s.options())
		send(t, peer, s.announce(slash24(1), slash24(2)))
		testenv.Eventually(t, "the routes are there", func() bool { return learned(t, slash24(1)) })
		peer.Abort()
		for range 100 {
			if one, err := rawpeer.Dial(t.Context(), s.options()); err == nil {
				_ = one.Send(s.options().Open())
				one.Abort()
			}
		}
		testenv.Eventually(t, "the routes are gone", func() bool { return !learned(t, slash24(1)) && !learned(t, slash24(2)) })
	}
	testenv.Eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= before+2 })
	if flaps := r.peer(t, s.name).Flaps; flaps != 3 {
		t.Errorf("%d ends of sessions are told, want 3", flaps)
	}
	w.unhurt(r)
}

// descriptors is how many files the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A peer that takes nothing of what it is told is let go when the hold time is over (RFC 9687).
func TestAPeerThatTakesNothingIsLetGo(t *testing.T) {
	all := sites(t, 2)
	want := config(all)
	want.Peers[0].HoldTime, want.Peers[0].KeepaliveInterval = 3*time.Second, time.Second
	for i := range 20000 { // more than the connection's buffers hold, with a small one at our end as well
		want.Networks = append(want.Networks, slash24(i))
	}
	const buffers = "/proc/sys/net/ipv4/tcp_wmem"
	usual, err := os.ReadFile(buffers)
	if err == nil {
		err = os.WriteFile(buffers, []byte("4096 8192 8192"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile(buffers, usual, 0) }()
	r := start(t, want)
	w := witnessOf(t, all[1])
	options := all[0].options()
	options.Deaf = true
	establish(t, options)
	eventually(t, 40*time.Second, "the session is over", func() bool { return r.peer(t, all[0].name).Flaps > 0 })
	if reason := r.peer(t, all[0].name).LastError; !strings.Contains(reason, "takes nothing") {
		t.Errorf("the reason that is told is %q", reason)
	}
	w.heard("10.51.0.0/16")
	w.unhurt(r)
}

// A peer that asks for all routes over and over is kept out: each time costs as much as all routes do.
func TestAPeerThatAsksForAllRoutesOverAndOverIsKeptOut(t *testing.T) {
	all := sites(t, 2)
	want := config(all)
	for i := range 2000 {
		want.Networks = append(want.Networks, slash24(i))
	}
	r := start(t, want)
	w := witnessOf(t, all[1])
	options := all[0].options()
	options.Deaf = true
	peer := establish(t, options)
	go func() {
		for peer.Send(rawpeer.Refresh(gobgp.RF_IPv4_UC)) == nil {
		}
	}()
	keptOut(t, r, all[0], "refresh")
	w.heard("10.51.0.0/16")
	w.unhurt(r)
}

// A peer whose few prefixes carry as much as fits into a message is kept out before the machine's memory is its own.
// Another peer's session does not notice.
func TestAPeerThatFillsTheMemoryIsKeptOut(t *testing.T) {
	all := sites(t, 2)
	want := config(all)
	for i := range want.Peers {
		want.Peers[i].MaximumPrefixes = 4000
	}
	r := start(t, want)
	w := witnessOf(t, all[1])
	options := all[0].options()
	options.Capabilities = []gobgp.ParameterCapabilityInterface{gobgp.NewCapExtendedMessage()}
	load := rawpeer.Attribute(rawpeer.Transitive, 250, make([]byte, 60000))
	peer := establish(t, options)
	go func() {
		for i := range 4000 {
			load[8], load[9] = byte(i), byte(i>>8) // so that no two are alike
			if peer.Send(rawpeer.Update(nil, append(rawpeer.Path(all[0].addr, all[0].asn), load), slash24(i))) != nil {
				return
			}
		}
	}()
	keptOut(t, r, all[0], "memory")
	w.heard("10.51.0.0/16")
	w.unhurt(r)
}

// keptOut waits until a site is kept out, for a reason with that word.
func keptOut(t *testing.T, r *running, s *site, word string) {
	t.Helper()
	eventually(t, 40*time.Second, s.name+" is kept out", func() bool { return r.peer(t, s.name).State == bgp.OverLimit })
	if reason := r.peer(t, s.name).LastError; !strings.Contains(reason, word) {
		t.Errorf("the reason that is told is %q", reason)
	}
}

// Thirty thousand routes, each by a next hop of its own, are neither refused nor in anybody's way.
func TestThirtyThousandNextHops(t *testing.T) {
	all := sites(t, 2)
	s := all[0]
	link, err := netlink.LinkByName(s.link)
	if err != nil {
		t.Fatal(err)
	}
	behind, err := netlink.ParseIPNet("12.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: behind, Gw: s.addr.AsSlice(), Protocol: unix.RTPROT_STATIC}); err != nil {
		t.Fatal(err)
	}
	r := start(t, config(all))
	w := witnessOf(t, all[1])
	peer := establish(t, s.options())
	const number = 30000
	var burst []byte
	for i := range number {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{20 + byte(i>>16), byte(i >> 8), byte(i), 0}), 24)
		hop := netip.AddrFrom4([4]byte{12, byte(i >> 16), byte(i >> 8), byte(i)})
		burst = append(burst, rawpeer.Update(nil, rawpeer.Path(hop, s.asn), p)...)
	}
	send(t, peer, burst)
	w.heard("10.51.0.0/16")
	eventually(t, time.Minute, "all are in the kernel", func() bool { return r.Status().IPv4Routes == number+2 })
	peer.Abort()
	eventually(t, time.Minute, "all are gone with the session", func() bool { return r.Status().IPv4Routes == 2 })
	w.unhurt(r)
}

// What a peer says does not fill the log, however often it says it and whatever it writes into it.
func TestWhatAPeerSaysDoesNotFillTheLog(t *testing.T) {
	all := sites(t, 2)
	s := all[0]
	r := start(t, config(all))
	w := witnessOf(t, all[1])
	peer := establish(t, s.options())
	const number = 5000
	var burst, refreshes []byte
	for i := range uint32(number) {
		old := rawpeer.Attribute(rawpeer.Transitive, gobgp.BGP_ATTR_TYPE_AS4_PATH, append([]byte{3, 200}, longPath(i)...))
		burst = append(burst, rawpeer.Update(nil, append(rawpeer.Path(s.addr, s.asn), old), slash24(1))...)
		burst = append(burst, rawpeer.Update(nil, [][]byte{rawpeer.Origin(byte(i) | 4)}, slash24(1))...)
		refreshes = append(refreshes, rawpeer.Refresh(gobgp.NewFamily(uint16(i), 99))...)
	}
	send(t, peer, burst, s.announce(slash24(2)))
	testenv.Eventually(t, "what came after is there", func() bool { return learned(t, slash24(2)) })
	_ = peer.Send(refreshes) // so many that it may be kept out for them
	testenv.Eventually(t, "all are heard, or the peer is kept out", func() bool {
		state := r.peer(t, s.name)
		return state.State == bgp.OverLimit || state.Received.Refresh == number
	})
	if size := len(r.log.text()); size > 16<<10 {
		t.Errorf("%d bytes were logged, such as: %s", size, r.log.text()[size-1000:])
	}
	w.unhurt(r)
}

// longPath is a path's 200 numbers.
func longPath(first uint32) []byte {
	numbers := make([]uint32, 200)
	for i := range numbers {
		numbers[i] = first + uint32(i)
	}
	return rawpeer.Words(numbers...)
}
