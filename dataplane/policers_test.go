package dataplane

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

var (
	peer, otherPeer = addr("59.10.10.10"), addr("60.10.10.100")
	peer6, own6     = addr("2001:db8:59::10"), addr("2001:db8:10::10")
)

// esp is an ESP packet that fills an Ethernet frame: SPI, sequence number, and what is encrypted.
var esp = slices.Concat(be32(7), be32(1), make([]byte, 1472))

// natT is UDP on the port of ESP in UDP.
func natT(payload []byte) []byte {
	return slices.Concat(be16(4500), be16(4500), be16(uint16(8+len(payload))), be16(0), payload)
}

// policed are doors that bound a peer, at both of its addresses, to 1 kbit/s, and no other.
func policed(t *testing.T) *doors {
	t.Helper()
	d := fabrikamDoors(t)
	g := fabrikam()
	g.OwnAddresses = append(g.OwnAddresses, own6)
	d.do(t, func() error { return d.SetGateway(g) })
	d.police(t, Policer{peer, 1}, Policer{peer6, 1})
	return d
}

func (d *doors) police(t *testing.T, all ...Policer) {
	t.Helper()
	if err := d.SetPolicers(all); err != nil {
		t.Fatal(err)
	}
}

// passes tells how many of the frames that come in one after the other go on to the kernel before the first that does
// not, `enough` at most.
func (d *doors) passes(t *testing.T, packet []byte) (n int) {
	t.Helper()
	for frame := fromInternet(packet); n < enough; n++ {
		if verdict, _ := d.run(t, d.objects.Door2Wire, "If2", frame); verdict == verdictDrop {
			return n
		} else if verdict != verdictNext {
			t.Fatalf("verdict %d", int32(verdict))
		}
	}
	return n
}

// enough packets to tell that nothing bounds them: more than a burst.
const enough = 300

// fullBurst are the packets of esp that make a burst, without their encapsulation.
const fullBurst = burst / (1500 - 54)

func TestDoor2BoundsThePeersESPOfEveryKind(t *testing.T) {
	for name, packet := range map[string][]byte{
		"ESP":                      ip4(peer, ownAddress, 50, esp),
		"a later fragment of ESP":  ip4Fragment(peer, ownAddress, 50, 100, esp),
		"ESP in UDP":               ip4(peer, ownAddress, 17, natT(esp[:1472])),
		"ESP over IPv6":            ip6(peer6, own6, 50, esp[:1460]),
		"ESP in UDP over IPv6":     ip6(peer6, own6, 17, natT(esp[:1452])),
		"ESP behind other headers": ip6(peer6, own6, 60, slices.Concat([]byte{50, 0, 1, 4, 0, 0, 0, 0}, esp[:1452])),
	} {
		t.Run(name, func(t *testing.T) {
			d := policed(t)
			_, before := d.dropped(t, nil)
			if n := d.passes(t, packet); n < fullBurst || n > fullBurst+1 {
				t.Errorf("%d packets passed at once, want %d", n, fullBurst)
			}
			grown, _ := d.dropped(t, before)
			if len(grown) != 1 || grown[0].Reason != "over-limit" || grown[0].Where != "door2" || grown[0].Packets != 1 {
				t.Errorf("drop counters: %+v", grown)
			}
		})
	}
}

func TestDoor2LeavesHalfOfABucketToNetworkControl(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		mark func(packet []byte)
	}{
		"IPv4": {ip4(peer, ownAddress, 50, esp), func(p []byte) { p[1] = 0xc0 }},
		"IPv6": {ip6(peer6, own6, 50, esp[:1460]), func(p []byte) { p[0] = 0x6e }},
	} {
		t.Run(name, func(t *testing.T) {
			control := slices.Clone(c.data)
			c.mark(control)
			d := policed(t)
			d.passes(t, c.data)
			if n := d.passes(t, control); n < fullBurst-1 || n > fullBurst+1 {
				t.Errorf("%d packets of control passed a bucket full of data, want %d", n, fullBurst)
			}
			if n := d.passes(t, c.data); n > 0 {
				t.Errorf("%d packets of data passed after them", n)
			}
		})
	}
}

func TestAFloodedPolicerHoldsUpNothingElse(t *testing.T) {
	d := policed(t)
	d.passes(t, ip4(peer, ownAddress, 50, esp))
	for name, packet := range map[string][]byte{
		"IKE":                      ip4(peer, ownAddress, 17, ports(500, 500)),
		"IKE on the port of NAT-T": ip4(peer, ownAddress, 17, natT(make([]byte, 1000))),
		"a keepalive of NAT-T":     ip4(peer, ownAddress, 17, natT([]byte{0xff})),
		"a later fragment of UDP":  ip4Fragment(peer, ownAddress, 17, 100, make([]byte, 1000)),
		"TCP":                      ip4(peer, ownAddress, 6, ports(4500, 4500)),
		"another peer's":           ip4(otherPeer, ownAddress, 50, esp),
		"to another's address":     ip4(peer, addr("131.107.10.21"), 50, esp),
		"the peer's other address": ip6(peer6, own6, 58, icmp6(peer6, own6, 128, 1, nil)),
		"UDP that starts like ESP": ip4(peer, ownAddress, 17, slices.Concat(be16(4500), be16(500), be16(12), be16(0), be32(7))),
	} {
		t.Run(name, func(t *testing.T) {
			if n := d.passes(t, packet); n < enough {
				t.Errorf("%d packets passed", n)
			}
		})
	}
	frame := fromInternet(ip4(peer, contosoNAT, 50, esp))
	if verdict, _ := d.run(t, d.objects.Door2Wire, "If2", frame); verdict != verdictRedirect {
		t.Errorf("ESP to a tenant's address: verdict %d", int32(verdict))
	}
}

func TestWhatAPeerUsedUpStaysUsedUp(t *testing.T) {
	d := policed(t)
	packet := ip4(peer, ownAddress, 50, esp)
	d.passes(t, packet)
	for name, change := range map[string]func(){
		"the same again":      func() { d.police(t, Policer{peer, 1}, Policer{otherPeer, 1}) },
		"a restart":           func() { d.reopen(t); d.police(t, Policer{peer, 1}) },
		"another limit":       func() { d.police(t, Policer{peer, 2}) },
		"another tunnel more": func() { d.police(t, Policer{peer, 2}, Policer{peer, 1}) },
	} {
		change()
		if n := d.passes(t, packet); n > 1 {
			t.Errorf("after %s, %d packets passed", name, n)
		}
	}
	d.police(t, Policer{peer, 1}, Policer{peer, 0})
	if n := d.passes(t, packet); n < enough {
		t.Errorf("with a tunnel of no limit, %d packets passed", n)
	}
	var left doorsPolicer
	if err := d.objects.Policers.Lookup(toAddress(peer), &left); err == nil {
		t.Errorf("left of a policer: %+v, %v", left, ebpf.ErrKeyNotExist)
	}
}

func TestTheLimitsOfAPeersTunnelsAddUp(t *testing.T) {
	rates, err := ratesOf([]Policer{{peer, 4000}, {peer, 4000}, {otherPeer, 8000}, {peer6, 0}, {peer6, 1}, {own6, 1e6}})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := rates[toAddress(peer)], rates[toAddress(otherPeer)]; a != b || a.price != 800<<10 {
		t.Errorf("two of 4,000 kbit/s and one of 8,000: %+v, %+v; an octet takes 800 ns", a, b)
	}
	if len(rates) != 3 || rates[toAddress(own6)].depth != uint64(burstTime) {
		t.Errorf("rates: %+v", rates)
	}
	if _, err := ratesOf([]Policer{{Peer: netip.Addr{}, Kbps: 1}}); err == nil {
		t.Error("a policer of no peer was taken")
	}
}

func TestAPeerThatCannotBeBoundedLeavesTheOthersBounded(t *testing.T) {
	d := policed(t)
	err := d.SetPolicers([]Policer{{netip.MustParseAddr("fe80::1%If2"), 1}, {peer, 1}})
	if err == nil || !strings.Contains(err.Error(), "fe80::1%If2") {
		t.Errorf("error %v, want one that names the peer", err)
	}
	if _, bounded := d.policers[toAddress(peer)]; !bounded || len(d.policers) != 1 {
		t.Errorf("policers of %v, want of %v alone", d.policers, peer)
	}
}
