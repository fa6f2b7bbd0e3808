package compartments_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/compartments"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// router is a compartment that is the external router of two virtual subnets: it has the ".1" of each beside its own
// address, and the test stands at the door.
type router struct {
	gateway
	door *packet.Conn
	mac  net.HardwareAddr
}

func newRouter(t *testing.T) router {
	t.Helper()
	g := newGateway(t)
	ns := g.ensure(t, "Contoso")
	r := router{gateway: g, mac: mac(t, "60:01:60:01:03:01")}
	standing(t, g, ns, "IfCi1", "bhi6001")
	g.set(t, ns, compartments.Config{
		Links: []compartments.Link{{
			Name: "IfCi1", Kind: compartments.Pair, Peer: "bhi6001", MAC: r.mac, MTU: 1458, NoARP: true,
			Addresses: []netip.Prefix{
				prefix("10.0.254.2/24"), prefix("10.0.1.1/32"), prefix("10.0.2.1/32"),
				prefix("fd00:254::2/64"), prefix("fd00:1::1/128"), prefix("fd00:2::1/128"),
			},
		}},
		Routes: []compartments.Route{
			{Prefix: prefix("10.0.1.0/24"), Link: "IfCi1", Source: addr("10.0.1.1")},
			{Prefix: prefix("10.0.2.0/24"), Link: "IfCi1", Source: addr("10.0.2.1")},
			{Prefix: prefix("fd00:1::/64"), Link: "IfCi1", Source: addr("fd00:1::1")},
			{Prefix: prefix("fd00:2::/64"), Link: "IfCi1", Source: addr("fd00:2::1")},
		},
	})
	for _, own := range []string{"fd00:254::2", "fd00:1::1", "fd00:2::1"} {
		awaitLocal(t, g, ns, compartments.Packet{From: addr("fd00:1::10"), To: addr(own), Link: "IfCi1"})
	}
	awaitCarrier(t, g.def, "bhi6001")
	awaitCarrier(t, ns, "IfCi1")
	must(t, g.def.Do(func() error {
		ifi, err := net.InterfaceByName("bhi6001")
		if err != nil {
			return err
		}
		r.door, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	}))
	t.Cleanup(func() { _ = r.door.Close() })
	return r
}

// awaitCarrier waits until the kernel passes packets to a link that came up: it drops them for a moment.
func awaitCarrier(t *testing.T, ns *netns.Namespace, link string) {
	t.Helper()
	h, err := ns.Netlink()
	must(t, err)
	defer h.Close()
	testenv.Eventually(t, link+" has a carrier", func() bool {
		l, err := h.LinkByName(link)
		must(t, err)
		// Asking for what is there takes the lock under which the kernel finishes bringing the link up.
		return l.Attrs().OperState == netlink.OperUp && h.LinkSetUp(l) == nil
	})
}

// send sends a packet from a VM into the compartment.
func (r router) send(t *testing.T, from, to string, ttl uint8, above ...gopacket.SerializableLayer) {
	t.Helper()
	e := &layers.Ethernet{SrcMAC: mac(t, "60:00:60:00:01:01"), DstMAC: r.mac, EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer
	src, dst := addr(from).AsSlice(), addr(to).AsSlice()
	if addr(from).Is4() {
		ip = &layers.IPv4{Version: 4, IHL: 5, TTL: ttl, Protocol: layers.IPProtocolICMPv4, SrcIP: src, DstIP: dst}
	} else {
		e.EthernetType = layers.EthernetTypeIPv6
		ip6 := &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: layers.IPProtocolICMPv6, SrcIP: src, DstIP: dst}
		must(t, above[0].(*layers.ICMPv6).SetNetworkLayerForChecksum(ip6))
		ip = ip6
	}
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	must(t, gopacket.SerializeLayers(buffer, options, append([]gopacket.SerializableLayer{e, ip}, above...)...))
	_, err := r.door.WriteTo(buffer.Bytes(), &packet.Addr{HardwareAddr: r.mac})
	must(t, err)
}

// ping sends an echo request, of ICMP or ICMPv6.
func (r router) ping(t *testing.T, from, to string, ttl uint8) {
	t.Helper()
	if addr(from).Is4() {
		request := layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)
		r.send(t, from, to, ttl, &layers.ICMPv4{TypeCode: request, Id: 7})
		return
	}
	request := layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)
	r.send(t, from, to, ttl, &layers.ICMPv6{TypeCode: request}, &layers.ICMPv6Echo{Identifier: 7})
}

// answers are what comes out of the compartment, until the answer to a ping of .254.2 does, which this sends. Packets
// of one link stay in order.
func (r router) answers(t *testing.T, from string) []string {
	t.Helper()
	fence := "10.0.254.2"
	if addr(from).Is6() {
		fence = "fd00:254::2"
	}
	r.ping(t, from, fence, 64)
	must(t, r.door.SetReadDeadline(time.Now().Add(patience)))
	var got []string
	for buffer := make([]byte, 1<<16); ; {
		n, _, err := r.door.ReadFrom(buffer)
		if err != nil {
			t.Fatalf("no answer to the last ping of %s by %s, only %v: %v", from, fence, got, err)
		}
		p := gopacket.NewPacket(buffer[:n], layers.LayerTypeEthernet, gopacket.Default)
		var said string
		if ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
			icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4) //nolint:forcetypeassert // nothing else is sent
			said = ip.SrcIP.String() + " to " + ip.DstIP.String() + " " + icmp.TypeCode.String()
		} else if ip, ok := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok {
			icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6) //nolint:forcetypeassert // nothing else is sent
			said = ip.SrcIP.String() + " to " + ip.DstIP.String() + " " + icmp.TypeCode.String()
			if ip.DstIP.IsMulticast() {
				continue // an MLD report, which a link sends when it likes
			}
		}
		if addr := fence + " to "; len(said) > len(addr) && said[:len(addr)] == addr {
			return got
		}
		got = append(got, said)
	}
}

func TestAnExternalRouterAnswersFromTheAddressOfTheSubnetThatAsks(t *testing.T) {
	r := newRouter(t)
	for _, c := range []struct {
		what, from, to string
		ttl            uint8
		want           string
	}{
		{"ping of .1", "10.0.1.10", "10.0.1.1", 64, "10.0.1.1 to 10.0.1.10 EchoReply"},
		{"ping of the other .1", "10.0.1.10", "10.0.2.1", 64, "10.0.2.1 to 10.0.1.10 EchoReply"},
		{"last hop", "10.0.1.10", "10.0.2.20", 1, "10.0.1.1 to 10.0.1.10 TimeExceeded(TTLExceeded)"},
		{"last hop back", "10.0.2.20", "10.0.1.10", 1, "10.0.2.1 to 10.0.2.20 TimeExceeded(TTLExceeded)"},
		{"ping of ::1", "fd00:1::10", "fd00:1::1", 64, "fd00:1::1 to fd00:1::10 EchoReply"},
		{"ping of the other ::1", "fd00:1::10", "fd00:2::1", 64, "fd00:2::1 to fd00:1::10 EchoReply"},
		{"last hop, IPv6", "fd00:1::10", "fd00:2::20", 1, "fd00:1::1 to fd00:1::10 TimeExceeded(HopLimitExceeded)"},
		{"last hop back, IPv6", "fd00:2::20", "fd00:1::10", 1, "fd00:2::1 to fd00:2::20 TimeExceeded(HopLimitExceeded)"},
		// A packet that leaves by the link that it came by is no reason to redirect its sender: there is no other way.
		{"through", "10.0.1.10", "10.0.2.20", 64, "10.0.1.10 to 10.0.2.20 EchoRequest"},
		{"through, IPv6", "fd00:1::10", "fd00:2::20", 64, "fd00:1::10 to fd00:2::20 EchoRequest"},
	} {
		r.ping(t, c.from, c.to, c.ttl)
		if diff := cmp.Diff([]string{c.want}, r.answers(t, c.from)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}
