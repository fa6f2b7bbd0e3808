package speaker

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"bulkhead/internal/testenv"

	"github.com/vishvananda/netlink"
)

// Of the process's connections to a BGP port, those that did not become a session in time are ended, and no others.
func TestConnectionsThatBecomeNoSessionAreEnded(t *testing.T) {
	testenv.Root(t)
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	listen := func(address string) net.Listener {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	dial := func(l net.Listener, local string) (here, there net.Conn) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(local), 0))}
		here, err := d.Dial("tcp", l.Addr().String())
		if err == nil {
			there, err = l.Accept()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = here.Close(), there.Close() })
		return here, there
	}
	peers, others := listen("127.0.0.1:179"), listen("127.0.0.1:4179")
	lost, _ := dial(peers, "127.0.0.2")
	session, sessions := dial(peers, "127.0.0.3")
	other, otherEnd := dial(others, "127.0.0.4")

	established := func(_, remote netip.Addr) bool {
		return remote == netip.MustParseAddr("127.0.0.3") || remote == netip.MustParseAddr("127.0.0.1")
	}
	c, now := &connections{}, time.Now()
	for _, step := range []struct {
		at    time.Duration
		ended int
	}{{0, 0}, {attemptTime - 1, 0}, {attemptTime, 1}} {
		ended, err := c.look(now.Add(step.at), established)
		if err != nil || len(ended) != step.ended {
			t.Fatalf("after %s %v are ended (%v), want %d", step.at, ended, err, step.ended)
		}
	}
	if _, err := lost.Read(make([]byte, 1)); err == nil {
		t.Error("the connection that became no session is still there")
	}
	for _, pair := range [][2]net.Conn{{session, sessions}, {other, otherEnd}} {
		if _, err := pair[1].Write([]byte{1}); err != nil {
			t.Error("a connection that is of use was ended:", err)
		}
		if _, err := pair[0].Read(make([]byte, 1)); err != nil {
			t.Error("a connection that is of use was ended:", err)
		}
	}
}
