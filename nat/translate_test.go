package nat_test

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/nat"
)

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

func TestSessionsToTheInternetCarryTheTenantsAddress(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	for _, c := range []struct {
		network            string
		from, server, want netip.Addr
	}{
		{"tcp", vmAddr, web, public}, {"udp", vmAddr, web, public},
		{"tcp", vmAddr6, web6, public6}, {"udp", vmAddr6, web6, public6},
	} {
		serve(t, n.internet, c.network, at(c.server, 80))
		if got := seenAs(t, n.vm, c.network, at(c.from, 40000), at(c.server, 80)); got != at(c.want, 40000) {
			t.Errorf("%s from %v: the server sees %v, want %v", c.network, c.from, got, at(c.want, 40000))
		}
	}
	// The compartment's own connections are translated as well.
	if got := seenAs(t, n.gw, "tcp", netip.AddrPort{}, at(web, 80)); got.Addr() != public {
		t.Errorf("the server sees the compartment as %v, want %v", got, public)
	}
}

func TestPingAndErrorsFindTheirWayBack(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	ping(t, n, 4711)
	sessions, err := nat.Sessions(n.gw)
	must(t, err)
	if len(sessions) != 1 || sessions[0].Protocol != "icmp" || sessions[0].TranslatedSource != at(public, 4711) ||
		sessions[0].Source != at(vmAddr, 4711) || sessions[0].State != "replied" || sessions[0].Timeout == 0 {
		t.Errorf("sessions are %+v", sessions)
	}
	// Nothing listens there, and the error that says so belongs to the session.
	c, err := dial(t, n.vm, "udp", netip.AddrPort{}, at(web, 81))
	must(t, err)
	if _, err := ask(t, c); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the VM learned %v, want connection refused", err)
	}
	c, err = dial(t, n.internet, "udp", at(web, 50000), at(public, 53))
	must(t, err)
	if _, err := ask(t, c); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the client of a mapping without server learned %v, want connection refused", err)
	}
}

// ping sends an echo request from the VM to the web server and waits for the reply.
func ping(t *testing.T, n network, id uint16) {
	t.Helper()
	var c net.PacketConn
	must(t, n.vm.Do(func() (err error) {
		c, err = net.ListenPacket("ip4:icmp", vmAddr.String())
		return err
	}))
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(timeout)))
	echo := []byte{8, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}
	sum := checksum(echo)
	echo[2], echo[3] = byte(sum>>8), byte(sum)
	_, err := c.WriteTo(echo, &net.IPAddr{IP: web.AsSlice()})
	must(t, err)
	buf := make([]byte, 1500)
	for {
		k, from, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatalf("no echo reply: %v", err)
		}
		if k >= 8 && buf[0] == 0 && from.String() == web.String() && buf[4] == echo[4] && buf[5] == echo[5] {
			return
		}
	}
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func TestMappingsLeadToTheServerWhichSeesTheClient(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	serve(t, n.server, "tcp", at(srvAddr, 8443))
	serve(t, n.server, "tcp", at(srvAddr6, 8443))
	serve(t, n.server, "udp", at(srvAddr, 5353))
	for _, c := range []struct {
		network  string
		from, to netip.AddrPort
	}{
		{"tcp", at(web, 50000), at(public, 443)},
		{"udp", at(web, 50001), at(public, 53)},
		{"tcp", at(web6, 50002), at(public6, 443)},
	} {
		if got := seenAs(t, n.internet, c.network, c.from, c.to); got != c.from {
			t.Errorf("%s to %v: the server sees %v, want %v", c.network, c.to, got, c.from)
		}
	}
	sessions, err := nat.Sessions(n.gw)
	must(t, err)
	if len(sessions) != 3 || sessions[0].Protocol != "tcp" || sessions[0].Destination != at(public, 443) ||
		sessions[0].TranslatedDestination != at(srvAddr, 8443) || sessions[0].TranslatedSource != at(web, 50000) ||
		sessions[0].State != "established" {
		t.Errorf("sessions are %+v", sessions)
	}
}

func TestInsideHostReachesItsOwnTenantsMapping(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	serve(t, n.server, "tcp", at(srvAddr, 8443))
	serve(t, n.server, "udp", at(srvAddr, 5353))
	if got := seenAs(t, n.vm, "tcp", at(vmAddr, 40000), at(public, 443)); got.Addr() != public {
		t.Errorf("the server sees %v, want the tenant's public address", got)
	}
	if got := seenAs(t, n.vm, "udp", at(vmAddr, 40000), at(public, 53)); got.Addr() != public {
		t.Errorf("the server sees %v, want the tenant's public address", got)
	}
}

func TestSharedAddressUsesOnlyTheTenantsPorts(t *testing.T) {
	n := newNetwork(t)
	c := tenant()
	c.Addresses = []nat.Address{{Address: public, First: 9000, Last: 9003}}
	c.Mappings = nil
	set(t, n, c)
	serve(t, n.internet, "tcp", at(web, 80))
	serve(t, n.internet, "udp", at(web, 80))
	for i := range uint16(4) {
		for _, network := range []string{"tcp", "udp"} {
			got := seenAs(t, n.vm, network, at(vmAddr, 40000+i), at(web, 80))
			if got.Addr() != public || got.Port() < 9000 || got.Port() > 9003 {
				t.Errorf("%s: the server sees %v, want %v with a port from 9000 to 9003", network, got, public)
			}
		}
	}
	ping(t, n, 4711)
	sessions, err := nat.Sessions(n.gw)
	must(t, err)
	for _, s := range sessions {
		if p := s.TranslatedSource.Port(); p < 9000 || p > 9003 {
			t.Errorf("%s session leaves from port or id %d, want 9000 to 9003", s.Protocol, p)
		}
	}
	// A protocol without ports has no place on a shared address. 253 is for experiments (RFC 3692).
	sendProtocol(t, n, 253)
	wantDropped(t, n, "untranslated", 1)
}

func TestProtocolWithoutPortsLeavesFromAWholeAddress(t *testing.T) {
	n := newNetwork(t)
	c := tenant()
	c.Addresses = append(c.Addresses, nat.Address{Address: netip.MustParseAddr("131.107.10.11"), First: 9000, Last: 9999})
	set(t, n, c)
	arrived := listenProtocol(t, n, 253)
	sendProtocol(t, n, 253)
	must(t, arrived.SetReadDeadline(time.Now().Add(timeout)))
	_, from, err := arrived.ReadFrom(make([]byte, 64))
	if err != nil || from.String() != public.String() {
		t.Errorf("the packet came from %v, %v; want %v", from, err, public)
	}
}

func sendProtocol(t *testing.T, n network, number byte) {
	t.Helper()
	must(t, n.vm.Do(func() error {
		c, err := net.DialIP("ip4:"+strconv.Itoa(int(number)), nil, &net.IPAddr{IP: web.AsSlice()})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	}))
}

func listenProtocol(t *testing.T, n network, number byte) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	must(t, n.internet.Do(func() (err error) {
		c, err = net.ListenPacket("ip4:"+strconv.Itoa(int(number)), web.String())
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestSeveralAddressesAreSharedOutByInsideHost(t *testing.T) {
	n := newNetwork(t)
	c := tenant()
	second := netip.MustParseAddr("131.107.10.14")
	c.Addresses = append(c.Addresses, nat.Address{Address: second})
	set(t, n, c)
	serve(t, n.internet, "udp", at(web, 80))
	count := map[netip.Addr]int{}
	for host := range byte(32) {
		from := netip.AddrFrom4([4]byte{10, 0, 0, 20 + host})
		addresses(t, n.vm, "eth0", from.String()+"/24")
		first := seenAs(t, n.vm, "udp", at(from, 40000), at(web, 80)).Addr()
		again := seenAs(t, n.vm, "udp", at(from, 40001), at(web, 80)).Addr()
		if first != again {
			t.Errorf("%v is seen as %v and as %v", from, first, again)
		}
		count[first]++
	}
	if len(count) != 2 || count[public] < 6 || count[second] < 6 {
		t.Errorf("32 hosts are shared out as %v", count)
	}
}
