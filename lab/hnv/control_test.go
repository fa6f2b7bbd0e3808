package hnv_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulkhead/internal/testenv"
	"bulkhead/lab/hnv"
)

// threeHosts run a VM of red on the first; the VM of 5003 is on the second, and may go to the third.
func threeHosts(t *testing.T, p hnv.Policy, pas ...netip.Addr) (hosts []*hnv.Host, vmA, vmB *cable) {
	t.Helper()
	vmA, vmB = newCable(), newCable()
	hosts = wire(t,
		hnv.Config{Name: "a", PA: pas[0], Policy: p, Ports: []hnv.Port{{VSID: p.Subnets[0].VSID, MAC: macA, Device: vmA}}},
		hnv.Config{Name: "b", PA: pas[1], Policy: p, Ports: []hnv.Port{{VSID: p.Subnets[1].VSID, MAC: macB, Device: vmB}}},
		hnv.Config{Name: "c", PA: pas[2], Policy: p})
	return hosts, vmA, vmB
}

func (c *cable) sends(frame []byte) { c.sent <- frame }

// happened waits for an event of a host.
func happened(t *testing.T, h *hnv.Host, kind hnv.EventKind) hnv.Event {
	t.Helper()
	var found hnv.Event
	testenv.Eventually(t, "event "+string(kind), func() bool {
		events := h.Events()
		i := slices.IndexFunc(events, func(e hnv.Event) bool { return e.Kind == kind })
		if i >= 0 {
			found = events[i]
		}
		return i >= 0
	})
	return found
}

func TestOldHostRedirectsAfterALiveMigrationAndNothingIsLostThen(t *testing.T) {
	for family, x := range map[string]struct {
		policy   hnv.Policy
		pas      []netip.Addr
		from, to string
	}{
		"IPv4": {policy, []netip.Addr{paA, paB, netip.MustParseAddr("192.168.0.44")}, "10.0.0.10", "10.0.3.10"},
		"IPv6": {policy6, []netip.Addr{pa6A, pa6B, netip.MustParseAddr("fd00:a::44")}, "fd00:1::a", "fd00:2::b"},
	} {
		t.Run(family, func(t *testing.T) {
			hosts, vmA, vmB := threeHosts(t, x.policy, x.pas...)
			vsid := x.policy.Subnets[1].VSID
			request := hnv.EchoRequest(macA, hnv.RouterMAC, netip.MustParseAddr(x.from), netip.MustParseAddr(x.to), 1, 1)
			vmA.sends(request)
			vmB.next(t)
			if err := hosts[1].Migrate(vsid, macB, hosts[2]); err != nil {
				t.Fatal(err)
			}
			vmA.sends(request) // to the old host, which drops it and says where the VM is
			if e := happened(t, hosts[0], hnv.Redirected); e.Record.PA != x.pas[2] || e.From != x.pas[1] {
				t.Errorf("redirected: %+v", e)
			}
			if _, err := hosts[0].Await(t.Context(), func(o hnv.Observation) bool {
				return !o.Sent && strings.HasPrefix(o.Inner, "REDIRECT to "+x.pas[2].String())
			}); err != nil {
				t.Error(err)
			}
			for range 10 {
				vmA.sends(request)
				vmB.next(t)
			}
			// The VM, which noticed nothing, still sends.
			vmB.sends(hnv.EchoRequest(macB, hnv.RouterMAC, netip.MustParseAddr(x.to), netip.MustParseAddr(x.from), 2, 2))
			vmA.next(t)
			if drops := hosts[1].Drops(); drops[hnv.DropUnknownVSID]+drops[hnv.DropNoVM] != 1 {
				t.Errorf("the old host dropped %v", drops)
			}
		})
	}
}

func TestHostSaysUnreachableForAVMThatNobodyKnowsAndNotWithoutLimit(t *testing.T) {
	hosts, _, vmB, _ := learningHosts(t, learning("10.0.0.0/24"))
	stranger := hnv.EchoRequest(macA, slices.Concat(macC[:5], []byte{9}), netip.MustParseAddr("10.0.0.5"),
		netip.MustParseAddr("10.0.0.99"), 1, 1)
	const sent = 200
	for i := range sent {
		if err := hosts[0].Send(hosts[0].Packet(paB, 5001, stranger)); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			continue
		}
		if _, err := hosts[0].Await(t.Context(), func(o hnv.Observation) bool {
			return !o.Sent && strings.HasPrefix(o.Inner, "UNREACHABLE")
		}); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, "all frames arrive", func() bool { return hosts[1].Drops()[hnv.DropNoVM] == sent })
	messages := slices.DeleteFunc(hosts[1].Observations(), func(o hnv.Observation) bool {
		return !o.Sent || !strings.HasPrefix(o.Inner, "UNREACHABLE")
	})
	if len(messages) == 0 || len(messages) > sent/2 {
		t.Errorf("%d frames brought %d messages", sent, len(messages))
	}
	vmB.quiet(t)
}

func TestControlMessagesAreBelievedOnlyFromTheProviderThatTheRecordNames(t *testing.T) {
	hosts, vmA, vmB := threeHosts(t, policy, paA, paB, netip.MustParseAddr("192.168.0.44"))
	offending := hnv.EchoRequest(macA, macB, netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.3.10"), 1, 1)
	good := hnv.Control{Redirect: true, From: paB, To: netip.MustParseAddr("192.168.0.66"), Offending: offending}
	send := func(from *hnv.Host, c hnv.Control, change func(*hnv.Packet)) {
		t.Helper()
		p := from.Packet(paA, 5003, c.Frame(macB, macA))
		change(&p)
		if err := from.Send(p); err != nil {
			t.Fatal(err)
		}
	}
	third := good
	third.From = hosts[2].PA()
	otherMAC := good
	otherMAC.Offending = slices.Concat(macA, offending[6:])
	// The domain's records name no PA of the third host: what it says is dropped before it is read.
	send(hosts[2], third, func(*hnv.Packet) {})
	send(hosts[1], third, func(*hnv.Packet) {})                 // outer and inner source differ
	send(hosts[1], otherMAC, func(*hnv.Packet) {})              // of no VM in 5003
	send(hosts[1], good, func(p *hnv.Packet) { p.VSID = 5001 }) // of no VM in 5001
	testenv.Eventually(t, "all four are refused", func() bool {
		return hosts[0].Drops()[hnv.DropControl] == 3 && hosts[0].Drops()[hnv.DropUnknownSource] == 1
	})
	if events := hosts[0].Events(); len(events) != 0 {
		t.Errorf("believed: %v", events)
	}
	vmA.sends(echo(hnv.RouterMAC, "10.0.3.10", 7))
	vmB.next(t)
	// The same from the right one is believed, and an UNREACHABLE is reported.
	gone := good
	gone.Redirect, gone.To = false, paA
	send(hosts[1], gone, func(*hnv.Packet) {})
	if e := happened(t, hosts[0], hnv.Stale); e.Record.CA.String() != "10.0.3.10" {
		t.Errorf("stale: %+v", e)
	}
	send(hosts[1], good, func(*hnv.Packet) {})
	if e := happened(t, hosts[0], hnv.Redirected); e.Record.PA != good.To {
		t.Errorf("redirected: %+v", e)
	}
}
