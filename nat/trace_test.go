package nat_test

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/nat"
)

// pass traces a packet that arrives on one link and leaves by another.
func pass(t *testing.T, n network, c nat.Config, in, out string, p nat.Packet) nat.Passage {
	t.Helper()
	w, err := c.Arrive(n.gw, in, p)
	must(t, err)
	if w.Reason == "" {
		w = c.Leave(w, out)
	}
	return w
}

func udp(from, to netip.AddrPort) nat.Packet {
	return nat.Packet{Protocol: unix.IPPROTO_UDP, Source: from, Destination: to}
}

// The kernel's own translation of the same packets is what the trace is held against.
func TestTraceTellsTheAddressThatTheInternetSees(t *testing.T) {
	n := newNetwork(t)
	c := tenant()
	c.Addresses = nil
	for i := range byte(5) {
		c.Addresses = append(c.Addresses, nat.Address{Address: netip.AddrFrom4([4]byte{131, 107, 10, 12 + i})})
		v6 := public6.As16()
		v6[15] += i
		c.Addresses = append(c.Addresses, nat.Address{Address: netip.AddrFrom16(v6)})
	}
	c.Addresses[4].First, c.Addresses[4].Last = 9000, 9999
	set(t, n, c)
	for i := range byte(12) {
		for _, a := range []struct {
			pattern string
			server  netip.Addr
		}{{"10.0.0.%d", web}, {"fd00::%d", web6}} {
			from, to := netip.MustParseAddr(fmt.Sprintf(a.pattern, 20+i)), at(a.server, 80)
			if i == 0 {
				serve(t, n.internet, "udp", to)
			}
			bits := "/24"
			if from.Is6() {
				bits = "/64"
			}
			addresses(t, n.vm, "eth0", from.String()+bits)
			client := at(from, 40000+uint16(i)) // ports that no two want at the same address
			before := pass(t, n, c, "in0", "ext", udp(client, to))
			seen := seenAs(t, n.vm, "udp", client, to)
			switch {
			case before.Session != nil || before.Reason != "" || before.Source.Addr() != seen.Addr():
				t.Errorf("%v: traced %+v, the server sees %v", from, before, seen)
			case before.LastPort == 0 && before.Source != seen:
				t.Errorf("%v: traced as %v, the server sees %v", from, before.Source, seen)
			case before.LastPort != 0 && (seen.Port() < before.FirstPort || seen.Port() > before.LastPort):
				t.Errorf("%v: traced with ports %d-%d, the server sees %v", from, before.FirstPort, before.LastPort, seen)
			}
			after := pass(t, n, c, "in0", "ext", udp(client, to))
			if after.Session == nil || after.Source != seen {
				t.Errorf("%v: traced with its session %+v, the server sees %v", from, after, seen)
			}
			answer := pass(t, n, c, "ext", "in0", udp(to, seen))
			if answer.Session == nil || answer.Destination != client || answer.Source != to || answer.Reason != "" {
				t.Errorf("%v: its answer is traced as %+v", from, answer)
			}
		}
	}
}

func TestTraceOfAPingIsThatOfItsSession(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	echo := nat.Packet{Protocol: unix.IPPROTO_ICMP, Source: at(vmAddr, 4711), Destination: at(web, 4711)}
	if w := pass(t, n, tenant(), "in0", "ext", echo); w.Session != nil || w.Source != at(public, 4711) {
		t.Errorf("before: %+v", w)
	}
	ping(t, n, 4711)
	if w := pass(t, n, tenant(), "in0", "ext", echo); w.Session == nil || w.Source != at(public, 4711) {
		t.Errorf("after: %+v", w)
	}
}

func TestTraceOfAMappingLeadsToTheServer(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	for _, to := range []struct{ public, server netip.AddrPort }{
		{at(public, 443), at(srvAddr, 8443)}, {at(public6, 443), at(srvAddr6, 8443)},
	} {
		client, inside := at(web, 50000), at(vmAddr, 50001)
		if to.public.Addr().Is6() {
			client, inside = at(web6, 50000), at(vmAddr6, 50001)
		}
		serve(t, n.server, "tcp", to.server)
		p := nat.Packet{Protocol: unix.IPPROTO_TCP, Source: client, Destination: to.public}
		traced := pass(t, n, tenant(), "ext", "in0", p)
		if seen := seenAs(t, n.internet, "tcp", client, to.public); traced.Destination != to.server ||
			!traced.Mapped || traced.Source != seen || traced.Reason != "" {
			t.Errorf("traced %+v, the server sees %v", traced, seen)
		}
		// From inside, by the public address: the server sees that as the client's.
		p.Source = inside
		traced = pass(t, n, tenant(), "in0", "in0", p)
		if seen := seenAs(t, n.vm, "tcp", inside, to.public); traced.Destination != to.server || traced.Source != seen {
			t.Errorf("from inside: traced %+v, the server sees %v", traced, seen)
		}
	}
}

func TestTraceNamesTheCounterThatDropsThePacket(t *testing.T) {
	n := newNetwork(t)
	c := tenant()
	c.Protected = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("65.20.0.0/16")}
	set(t, n, c)
	for _, s := range []struct {
		in, out  string
		from, to netip.AddrPort
		reason   string
		send     func(from, to netip.AddrPort)
	}{
		{"in0", "ext", at(vmAddr, 40001), at(netip.MustParseAddr("192.168.7.7"), 9), "private-destination", nil},
		{"in0", "ext", at(vmAddr, 40002), at(netip.MustParseAddr("10.1.0.5"), 9), "site-in-clear", nil},
		{"in0", "ext", at(vmAddr, 40003), at(netip.MustParseAddr("65.20.0.5"), 9), "site-in-clear", nil},
		{"ext", "in0", at(web, 40004), at(public, 9), "from-internet", nil},
		{"ext", "in0", at(netip.MustParseAddr("192.168.7.7"), 40005), at(public, 53), "private-source", nil},
	} {
		traced := pass(t, n, c, s.in, s.out, udp(s.from, s.to))
		if traced.Reason != s.reason {
			t.Errorf("%v to %v: traced %+v, want %s", s.from, s.to, traced, s.reason)
		}
		before := dropped(t, n, s.reason)
		ns := n.vm
		if s.in == "ext" {
			ns = n.internet
		}
		conn, err := dial(t, ns, "udp", s.from, s.to)
		must(t, err)
		_, err = conn.Write([]byte("?"))
		must(t, err)
		wantDropped(t, n, s.reason, before+1)
		if again := pass(t, n, c, s.in, s.out, udp(s.from, s.to)); again.Reason != s.reason || again.Session != nil {
			t.Errorf("%v to %v: a trace after the packet says %+v", s.from, s.to, again)
		}
	}
}

func TestTraceLeavesNoSessionAndMovesNoCounter(t *testing.T) {
	n := newNetwork(t)
	set(t, n, tenant())
	pass(t, n, tenant(), "in0", "ext", udp(at(vmAddr, 40000), at(web, 80)))
	pass(t, n, tenant(), "ext", "in0", udp(at(web, 40000), at(public, 9)))
	sessions, err := nat.Sessions(n.gw)
	must(t, err)
	if len(sessions) != 0 || dropped(t, n, "from-internet") != 0 {
		t.Errorf("sessions %+v, %d drops", sessions, dropped(t, n, "from-internet"))
	}
	if w := pass(t, n, nat.Config{}, "in0", "ext", udp(at(vmAddr, 1), at(web, 2))); w.Source != at(vmAddr, 1) {
		t.Errorf("a compartment without NAT translates: %+v", w)
	}
}
