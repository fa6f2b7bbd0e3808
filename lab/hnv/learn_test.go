package hnv_test

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"bulkhead/internal/testenv"
	"bulkhead/lab/hnv"
)

var macC = net.HardwareAddr{2, 0, 0, 0, 0, 0xc}

// learning is a virtual subnet of either family in which only MACs are known.
func learning(prefix string) hnv.Policy {
	p := hnv.Policy{Subnets: []hnv.Subnet{{RoutingDomain: "red", VSID: 5001, Prefix: netip.MustParsePrefix(prefix)}}}
	for mac, pa := range map[*net.HardwareAddr]netip.Addr{&macA: paA, &macB: paB, &macC: paB} {
		p.Records = append(p.Records, hnv.Record{
			RoutingDomain: "red", VSID: 5001, MAC: *mac, PA: pa, Type: hnv.L2Only,
		})
	}
	return p
}

// learningHosts run VM A on the first and VMs B and C on the second.
func learningHosts(t *testing.T, p hnv.Policy) (hosts []*hnv.Host, a, b, c *cable) {
	t.Helper()
	a, b, c = newCable(), newCable(), newCable()
	hosts = wire(t,
		hnv.Config{Name: "a", PA: paA, Policy: p, Ports: []hnv.Port{{VSID: 5001, MAC: macA, Device: a}}},
		hnv.Config{Name: "b", PA: paB, Policy: p, Ports: []hnv.Port{
			{VSID: 5001, MAC: macB, Device: b}, {VSID: 5001, MAC: macC, Device: c}}})
	return hosts, a, b, c
}

// learned insists that the host has told the controller of an address.
func learned(t *testing.T, h *hnv.Host, ca string, mac net.HardwareAddr, pa netip.Addr) {
	t.Helper()
	testenv.Eventually(t, "the host learns "+ca, func() bool {
		return slices.ContainsFunc(h.Events(), func(e hnv.Event) bool {
			r := e.Record
			return e.Kind == hnv.Learned && r.CA.String() == ca && bytes.Equal(r.MAC, mac) && r.PA == pa
		})
	})
}

// The book's flow, steps 1 to 31: each VM with an L2Only record is asked by itself, the one that has the address
// answers, both hosts learn both VMs, and the next question is answered from the records.
func TestUnknownAddressIsAskedForByUnicastAndLearnedFromTheAnswer(t *testing.T) {
	for family, x := range map[string]struct {
		prefix, from, target string
		ask                  func(t *testing.T, sender net.HardwareAddr, from, target string) []byte

		answer func(t *testing.T, sender net.HardwareAddr, from string, to net.HardwareAddr, asked string) []byte
		read   func(t *testing.T, frame []byte) (netip.Addr, net.HardwareAddr)
	}{
		"IPv4": {"10.0.0.0/24", "10.0.0.5", "10.0.0.7",
			func(t *testing.T, sender net.HardwareAddr, from, target string) []byte {
				return arpFrame(t, layers.ARPRequest, sender, from, nil, target)
			},
			func(t *testing.T, sender net.HardwareAddr, from string, to net.HardwareAddr, asked string) []byte {
				return arpFrame(t, layers.ARPReply, sender, from, to, asked)
			}, answered},
		"IPv6": {"fd00:1::/64", "fd00:1::5", "fd00:1::7", solicit, advertise, advertised},
	} {
		t.Run(family, func(t *testing.T) {
			hosts, a, b, c := learningHosts(t, learning(x.prefix))
			a.sent <- x.ask(t, macA, x.from, x.target)
			for mac, vm := range map[*net.HardwareAddr]*cable{&macB: b, &macC: c} {
				if got := vm.next(t); !bytes.Equal(got[:6], *mac) || !bytes.Equal(got[6:12], macA) {
					t.Errorf("the VM was asked by %x", got)
				}
			}
			learned(t, hosts[0], x.from, macA, paA)
			learned(t, hosts[1], x.from, macA, paA)

			b.sent <- x.answer(t, macB, x.target, macA, x.from)
			if address, mac := x.read(t, a.next(t)); address.String() != x.target || !bytes.Equal(mac, macB) {
				t.Errorf("the answer: %v is at %v", address, mac)
			}
			learned(t, hosts[0], x.target, macB, paB)
			learned(t, hosts[1], x.target, macB, paB)

			hosts[0].Forget()
			a.sent <- x.ask(t, macA, x.from, x.target)
			if address, mac := x.read(t, a.next(t)); address.String() != x.target || !bytes.Equal(mac, macB) {
				t.Errorf("the filter's answer: %v is at %v", address, mac)
			}
			if seen := hosts[0].Observations(); len(seen) != 0 {
				t.Errorf("a known address was asked for on the wire: %v", seen)
			}
			b.quiet(t)
			c.quiet(t)
		})
	}
}

func TestNothingIsLearnedWithoutAnL2OnlyRecordOfTheMACAtThatHost(t *testing.T) {
	p := learning("10.0.0.0/24")
	p.Records = append(p.Records, hnv.Record{
		RoutingDomain: "red", VSID: 5001, CA: netip.MustParseAddr("10.0.0.9"), MAC: macA, PA: paA,
	})
	hosts, _, b, _ := learningHosts(t, p)
	stranger := net.HardwareAddr{2, 0, 0, 0, 0, 0xd}
	for name, inner := range map[string][]byte{
		"a MAC of no record":        arpFrame(t, layers.ARPReply, stranger, "10.0.0.20", macB, "10.0.0.7"),
		"a MAC of another host":     arpFrame(t, layers.ARPReply, macC, "10.0.0.21", macB, "10.0.0.7"),
		"another subnet's address":  arpFrame(t, layers.ARPReply, macA, "10.0.1.22", macB, "10.0.0.7"),
		"the router's address":      arpFrame(t, layers.ARPReply, macA, "10.0.0.1", macB, "10.0.0.7"),
		"an address that is Static": arpFrame(t, layers.ARPReply, macA, "10.0.0.9", macB, "10.0.0.7"),
	} {
		if err := hosts[0].Send(hosts[0].Packet(paB, 5001, inner)); err != nil {
			t.Fatal(err)
		}
		b.next(t)
		if events := hosts[1].Events(); len(events) != 0 {
			t.Errorf("%s: %v", name, events)
		}
	}
}

// After a move a VM tells its address to everybody: by unicast on the wire, once for each host.
func TestAnnouncementGoesToEveryHostOfTheSubnetByUnicast(t *testing.T) {
	hosts, a, b, c := learningHosts(t, learning("10.0.0.0/24"))
	a.sent <- arpFrame(t, layers.ARPRequest, macA, "10.0.0.5", nil, "10.0.0.5")
	b.next(t)
	c.next(t)
	learned(t, hosts[1], "10.0.0.5", macA, paA)
	if seen := hosts[0].Observations(); len(seen) != 1 || seen[0].Destination != paB {
		t.Errorf("on the wire: %v", seen)
	}
}
