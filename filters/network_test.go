package filters_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/filters"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// network is a compartment between a site and a virtual network, whose machines are the tests themselves:
//
//	site 10.1.0.10, fd01::10 ---- IfCe1 [ gw ] IfCi1 ---- vm 10.0.0.10, fd00::10 and neighbours
type network struct {
	gw       *netns.Namespace
	site, vm *port
	sent     int
}

// port is the far end of one of the compartment's links.
type port struct {
	conn *packet.Conn
	far  net.HardwareAddr // the port
	near net.HardwareAddr // the compartment's end
	seen chan []byte
}

const timeout = 5 * time.Second

func newNetwork(t testing.TB) *network {
	t.Helper()
	n := &network{gw: testenv.Namespace(t)}
	h, err := n.gw.Netlink()
	must(t, err)
	t.Cleanup(h.Close)
	must(t, n.gw.Do(func() error {
		for path, value := range map[string]string{
			"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/conf/all/rp_filter": "0",
			"ipv6/conf/default/accept_dad": "0",
		} {
			if err := os.WriteFile("/proc/sys/net/"+path, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	}))
	n.site = newPort(t, n.gw, "IfCe1", []string{"10.1.0.1/24", "fd01::1/64"}, []string{"10.1.0.10", "fd01::10"})
	n.vm = newPort(t, n.gw, "IfCi1", []string{"10.0.0.1/24", "fd00::1/64"}, []string{"10.0.0.10", "fd00::f", "fd00::10", "fd00::18"})
	return n
}

// newPort makes a link of the compartment with addresses, and neighbours on it that are the port.
func newPort(t testing.TB, gw *netns.Namespace, name string, addresses, neighbours []string) *port {
	t.Helper()
	h, err := gw.Netlink()
	must(t, err)
	t.Cleanup(h.Close)
	away := testenv.Namespace(t)
	far, err := away.Netlink()
	must(t, err)
	t.Cleanup(far.Close)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace = "far", netlink.NsFd(away.Fd())
	must(t, h.LinkAdd(veth))
	p := &port{seen: make(chan []byte, 1024)}
	for _, end := range []struct {
		*netlink.Handle
		name string
		mac  *net.HardwareAddr
	}{{h, name, &p.near}, {far, "far", &p.far}} {
		link, err := end.LinkByName(end.name)
		must(t, err)
		*end.mac = link.Attrs().HardwareAddr
		must(t, end.LinkSetIP6AddrGenMode(link, 1)) // no address, and nothing that the kernel says unasked
		must(t, end.LinkSetUp(link))
	}
	link, err := h.LinkByName(name)
	must(t, err)
	for _, a := range addresses {
		address, err := netlink.ParseAddr(a)
		must(t, err)
		address.Flags = unix.IFA_F_NODAD
		must(t, h.AddrAdd(link, address))
	}
	for _, a := range neighbours {
		must(t, h.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: net.ParseIP(a), HardwareAddr: p.far, State: netlink.NUD_PERMANENT,
		}))
	}
	must(t, away.Do(func() error {
		ifi, err := net.InterfaceByName("far")
		if err != nil {
			return err
		}
		p.conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	}))
	t.Cleanup(func() { p.conn.Close() })
	go p.listen()
	return p
}

func (p *port) listen() {
	for buffer := make([]byte, 1<<16); ; {
		n, _, err := p.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		select {
		case p.seen <- slices.Clone(buffer[:n]):
		default:
		}
	}
}

// send sends packets from the network header on.
func (p *port) send(t testing.TB, packets ...[]byte) {
	t.Helper()
	for _, b := range packets {
		etherType := []byte{0x08, 0x00}
		if b[0]>>4 == 6 {
			etherType = []byte{0x86, 0xdd}
		}
		_, err := p.conn.WriteTo(slices.Concat(p.near, p.far, etherType, b), &packet.Addr{HardwareAddr: p.near})
		must(t, err)
	}
}

// other is the port that packets from this one leave by.
func (n *network) other(p *port) *port {
	if p == n.site {
		return n.vm
	}
	return n.site
}

// token is a payload that no other packet of the test has.
func (n *network) token() []byte {
	n.sent++
	return fmt.Appendf(nil, "packet %d.", n.sent)
}

// fate sends a packet, whole or in fragments, one of which carries the token, and says what became of it: passed, or the
// reason for which it was dropped.
func (n *network) fate(t testing.TB, from *port, token []byte, packets ...[]byte) string {
	t.Helper()
	before := drops(t, n.gw)
	from.send(t, packets...)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for end := time.After(timeout); ; {
		select {
		case frame := <-n.other(from).seen:
			if bytes.Contains(frame, token) {
				return "passed"
			}
		case <-poll.C:
			for reason, packets := range drops(t, n.gw) {
				if packets > before[reason] {
					return reason
				}
			}
		case <-end:
			t.Fatalf("%s neither arrived nor was counted", token)
		}
	}
}

func drops(t testing.TB, ns *netns.Namespace) map[string]uint64 {
	t.Helper()
	all, err := filters.Drops(ns)
	must(t, err)
	counted := map[string]uint64{}
	for _, d := range all {
		if d.Where != "filter" {
			t.Errorf("a drop at %q, want filter", d.Where)
		}
		counted[d.Reason] = d.Packets
	}
	return counted
}

func set(t testing.TB, n *network, all ...filters.Filter) {
	t.Helper()
	must(t, filters.Set(t.Context(), n.gw, all))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// transport is the part of a packet above its network header.
type transport struct {
	protocol layers.IPProtocol
	layer    gopacket.SerializableLayer
}

func tcp(sport, dport uint16, flags ...string) transport {
	l := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Seq: 1000, Ack: 1001, Window: 512}
	l.SYN, l.ACK = slices.Contains(flags, "SYN"), slices.Contains(flags, "ACK")
	return transport{layers.IPProtocolTCP, l}
}

func udp(sport, dport uint16) transport {
	return transport{layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}}
}

func icmp(typ, code uint8) transport {
	return transport{layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: 7, Seq: 1}}
}

func icmp6(typ, code uint8) transport {
	return transport{layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}}
}

func esp() transport { return transport{layers.IPProtocolESP, gopacket.Payload("\x00\x00\x10\x00")} }

// build makes a packet with a payload.
func build(t testing.TB, from, to string, what transport, payload []byte) []byte {
	t.Helper()
	source, destination := netip.MustParseAddr(from), netip.MustParseAddr(to)
	var network gopacket.SerializableLayer
	var checksum gopacket.NetworkLayer
	if source.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: what.protocol, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
		network, checksum = ip, ip
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: what.protocol, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
		network, checksum = ip, ip
	}
	if l, ok := what.layer.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		must(t, l.SetNetworkLayerForChecksum(checksum))
	}
	if what.protocol == layers.IPProtocolICMPv6 {
		payload = append(make([]byte, 4), payload...) // the rest of the message's header
	}
	buffer := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		network, what.layer, gopacket.Payload(payload)))
	return buffer.Bytes()
}
