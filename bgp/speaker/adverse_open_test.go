package speaker_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/rawpeer"
	"bulkhead/internal/testenv"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// Who says the wrong thing when a session is to begin gets the notification of RFC 4271, 6.2, no session, and an
// operator is told why.
func TestAWrongOpenIsAnsweredAndTold(t *testing.T) {
	for _, c := range []struct {
		name          string
		internal      bool
		options       func(*rawpeer.Options)
		open          func([]byte) // changes the message
		code, subcode uint8
	}{
		{name: "another AS number", options: func(o *rawpeer.Options) { o.ASN = 65000 }, code: 2, subcode: 2},
		{name: "another AS number of 4 bytes", options: func(o *rawpeer.Options) { o.ASN = 4200000000 }, code: 2, subcode: 2},
		{name: "AS number 0 (RFC 7607)", options: func(o *rawpeer.Options) { o.ASN = 0 }, code: 2, subcode: 2},
		{name: "identifier 0.0.0.0", options: func(o *rawpeer.Options) { o.Identifier = netip.IPv4Unspecified() }, code: 2, subcode: 3},
		{
			name: "our own identifier from an internal peer (RFC 6286)", internal: true,
			options: func(o *rawpeer.Options) { o.ASN, o.Identifier = ownASN, netip.MustParseAddr("10.0.254.2") }, code: 2, subcode: 3,
		},
		{name: "hold time of a second", options: func(o *rawpeer.Options) { o.HoldTime = 1 }, code: 2, subcode: 6},
		{name: "version 3", open: func(b []byte) { b[19] = 3 }, code: 2, subcode: 1},
		{name: "parameters beyond the message", open: func(b []byte) { b[28] = 200 }, code: 1, subcode: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := sites(t, 1)
			s := all[0]
			want := config(all)
			if c.internal {
				want.Peers[0].ASN = ownASN
			}
			r := start(t, want)
			options := s.options()
			if c.options != nil {
				c.options(&options)
			}
			open := options.Open()
			if c.open != nil {
				c.open(open)
			}
			peer := dial(t, options)
			peer.Listen()
			send(t, peer, open)
			over(t, peer)
			if n := peer.Notification(); n == nil || n.ErrorCode != c.code || n.ErrorSubcode != c.subcode {
				t.Errorf("the answer is %+v, want %d/%d", n, c.code, c.subcode)
			}
			testenv.Eventually(t, "an operator is told", func() bool { return r.peer(t, s.name).LastError != "" })
			if state := r.peer(t, s.name); state.State == bgp.Established {
				t.Error("the session is established")
			}
		})
	}
}

// A peer that offers to go without a hold timer would keep a dead session for ever: the session is refused.
func TestASessionWithoutHoldTimerIsRefused(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	r := start(t, config(all))
	options := s.options()
	options.HoldTime = 0
	peer := establish(t, options)
	over(t, peer)
	testenv.Eventually(t, "an operator is told", func() bool { return r.peer(t, s.name).LastError != "" })
	if learned(t, prefix("10.30.0.0/16")) {
		t.Error("a route of it is in the kernel")
	}
	establish(t, s.options()) // one with a hold timer is let in
}

// dial connects as soon as the speaker takes connections of that peer.
func dial(t *testing.T, options rawpeer.Options) *rawpeer.Peer {
	t.Helper()
	var peer *rawpeer.Peer
	testenv.Eventually(t, "the speaker takes a connection", func() bool {
		one, err := rawpeer.Dial(context.Background(), options)
		if err != nil {
			return false
		}
		// While it is idle GoBGP takes a connection and closes it; one that it means to keep begins with its OPEN.
		if one.Greeted() {
			peer = one
			return true
		}
		one.Close()
		return false
	})
	t.Cleanup(peer.Close)
	return peer
}

// A hundred strangers at our port, some silent, some talking, cost nothing: they are let go, no descriptor stays, and the
// peer's session comes up among them.
func TestStrangersAtThePortAreLetGo(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	start(t, config(all))
	var strangers []net.Conn
	for i := 10; i < 110; i++ {
		at := address("10.20.1.%d", i)
		there, err := s.ns.Netlink()
		if err != nil {
			t.Fatal(err)
		}
		assign(t, *there, "wan", at)
		there.Close()
		err = s.ns.Do(func() error {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, 0)), Timeout: 5 * time.Second}
			conn, err := d.DialContext(context.Background(), "tcp", netip.AddrPortFrom(s.own, gobgp.BGP_PORT).String())
			if err != nil {
				return err
			}
			strangers = append(strangers, conn)
			if i%2 == 0 {
				_, err = conn.Write(s.options().Open())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	peer := establish(t, s.options())
	send(t, peer, s.announce(prefix("10.30.0.0/16")))
	testenv.Eventually(t, "the peer's route is there", func() bool { return learned(t, prefix("10.30.0.0/16")) })
	for _, conn := range strangers {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Fatalf("a stranger at %s was told %d bytes", conn.LocalAddr(), n)
		}
		conn.Close()
	}
}

// A connection of the peer's that says nothing, while its session comes up by another, does not keep the session from
// coming up for long: GoBGP would wait for it for ever.
func TestASilentConnectionDoesNotKeepASessionAway(t *testing.T) {
	all := sites(t, 1)
	s := all[0]
	want := config(all)
	want.Peers[0].Passive = false
	listener, err := rawpeer.Await(s.options())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	r := start(t, want)
	silent := dial(t, s.options()) // and never a word
	defer silent.Close()
	outgoing, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer outgoing.Close()
	// The peer takes up the speaker's own connection. The speaker drops the silent one, on this try or the next.
	go func() {
		for err := outgoing.Establish(); err != nil; err = outgoing.Establish() {
			if outgoing, err = listener.Accept(); err != nil {
				return
			}
		}
	}()
	eventually(t, time.Minute, "the session is established", func() bool { return r.peer(t, s.name).State == bgp.Established })
}

// eventually waits longer than testenv.Eventually does.
func eventually(t *testing.T, most time.Duration, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(most); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("in %s it did not come about that %s", most, what)
		}
	}
}
