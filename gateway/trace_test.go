package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/configs"
	"bulkhead/internal/testenv"
)

// tracedYAML is a tenant with everything that a trace tells of and that this machine's kernel has.
const tracedYAML = `apiVersion: bulkhead/v1
kind: Tenant
metadata: {name: Contoso}
spec:
  routingDomainId: 12345678-1000-2000-3000-000000000001
  virtualSubnets: [{vsid: 5001, prefix: 10.0.0.0/24}, {vsid: 5003, prefix: 10.0.3.0/24}, {vsid: 6001, prefix: 10.0.254.0/24}]
  internalInterfaces: [{name: IfCi1, vsid: 6001, addresses: [10.0.254.2/24], macAddress: "60:01:60:01:03:01"}]
  lookupRecords:
    - {customerAddress: 10.0.0.10, vsid: 5001, macAddress: "60:00:60:00:01:01", providerAddress: 192.168.0.22}
    - {customerAddress: 10.0.3.10, vsid: 5003, macAddress: "60:00:60:00:01:03", providerAddress: 192.168.0.33}
  nat:
    externalAddresses: [{address: 131.107.10.12}]
    staticMappings: [{protocol: UDP, external: "131.107.10.12:53", internal: "10.0.0.10:5353"}]
`

const routerYAML = `  externalRouter: {macAddress: "60:01:60:01:03:99"}
`

// traced is a machine with Contoso and Woodgrove, and whoever listens at the far ends of its cables.
type traced struct {
	*daemon
	backend, internet *cable
}

// cable is the far end of a NIC's.
type cable struct {
	conn   *packet.Conn
	near   net.HardwareAddr // the NIC
	far    net.HardwareAddr
	frames chan []byte
}

func newTraced(t *testing.T, yaml string) *traced {
	t.Helper()
	m := newMachine(t)
	d := &traced{daemon: m.open(t)}
	must(t, d.take(t.Context(), declareText(t, gatewayYAML, yaml, woodgrove.yaml())))
	d.backend, d.internet = m.listen(t, "backend0"), m.listen(t, "If2")
	for address, c := range map[string]*cable{
		"192.168.0.22": d.backend, "192.168.0.33": d.backend, "131.107.10.1": d.internet,
	} {
		nic := "backend0"
		if c == d.internet {
			nic = "If2"
		}
		link, err := netlink.LinkByName(nic)
		must(t, err)
		must(t, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: net.ParseIP(address), HardwareAddr: c.far, State: netlink.NUD_PERMANENT,
		}))
	}
	return d
}

func (m *machine) listen(t *testing.T, name string) *cable {
	t.Helper()
	near, err := netlink.LinkByName(name)
	must(t, err)
	c := &cable{near: near.Attrs().HardwareAddr, frames: make(chan []byte, 64)}
	must(t, m.wire.Do(func() error {
		far, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		c.far = far.HardwareAddr
		c.conn, err = packet.Listen(far, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	}))
	t.Cleanup(func() { c.conn.Close() })
	go func() {
		for buffer := make([]byte, 1<<16); ; {
			n, _, err := c.conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			c.frames <- slices.Clone(buffer[:n])
		}
	}()
	return c
}

func (c *cable) send(t *testing.T, all ...gopacket.SerializableLayer) {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
	_, err := c.conn.WriteTo(buffer.Bytes(), &packet.Addr{HardwareAddr: c.near})
	must(t, err)
}

// receive waits for a UDP packet to a port, or for an ICMP error about one, and says what it was.
func (c *cable) receive(t *testing.T, port uint16) (seen string) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case frame := <-c.frames:
			if seen := describeFrame(frame, c.near, port); seen != "" {
				return seen
			}
		case <-timeout:
			t.Fatalf("nothing about port %d arrives", port)
		}
	}
}

// describeFrame is what a frame that the gateway sent says, in the words of a trace; empty where it is not about the port.
func describeFrame(frame []byte, from net.HardwareAddr, port uint16) string {
	var ip *layers.IPv4
	host := ""
	for i, l := range gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default).Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			if i == 0 && l.SrcMAC.String() != from.String() {
				return ""
			}
		case *layers.IPv4:
			ip = l
		case *layers.GRE:
			host = fmt.Sprintf(" to the host at %v, in VSID %d", ip.DstIP, l.Key>>8)
		case *layers.ICMPv4:
			if l.TypeCode.Type() == layers.ICMPv4TypeDestinationUnreachable && len(l.Payload) >= 24 &&
				uint16(l.Payload[22])<<8|uint16(l.Payload[23]) == port {
				return "refused"
			}
		case *layers.UDP:
			if uint16(l.DstPort) == port {
				return fmt.Sprintf("udp %v:%d > %v:%d%s", ip.SrcIP, l.SrcPort, ip.DstIP, l.DstPort, host)
			}
		}
	}
	return ""
}

func datagram(from, to string, sport, dport uint16) []gopacket.SerializableLayer {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(from).To4(),
		DstIP: net.ParseIP(to).To4()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return []gopacket.SerializableLayer{ip, udp, gopacket.Payload("traced")}
}

// sendAsHost sends a VM's packet as its host does.
func (d *traced) sendAsHost(t *testing.T, r TraceRequest, pa, mac string, vsid uint32) {
	t.Helper()
	to, err := net.ParseMAC(mac)
	must(t, err)
	vm := net.HardwareAddr{0x60, 0, 0x60, 0, 1, 1}
	d.backend.send(t, append([]gopacket.SerializableLayer{
		&layers.Ethernet{DstMAC: d.backend.near, SrcMAC: d.backend.far, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 128, Protocol: layers.IPProtocolGRE, SrcIP: net.ParseIP(pa).To4(),
			DstIP: net.IPv4(192, 168, 0, 11).To4()},
		&layers.GRE{KeyPresent: true, Key: vsid << 8, Protocol: layers.EthernetTypeTransparentEthernetBridging},
		&layers.Ethernet{DstMAC: to, SrcMAC: vm, EthernetType: layers.EthernetTypeIPv4},
	}, datagram(r.From.String(), r.To.String(), r.SourcePort, r.DestinationPort)...)...)
}

func (d *traced) sendFromInternet(t *testing.T, r TraceRequest) {
	t.Helper()
	d.internet.send(t, append([]gopacket.SerializableLayer{
		&layers.Ethernet{DstMAC: d.internet.near, SrcMAC: d.internet.far, EthernetType: layers.EthernetTypeIPv4},
	}, datagram(r.From.String(), r.To.String(), r.SourcePort, r.DestinationPort)...)...)
}

// allCounted are the drop counters, but for what the kernel itself says on its links.
func (d *traced) allCounted(t *testing.T) []DropRow {
	t.Helper()
	all, err := d.Drops(t.Context())
	must(t, err)
	return slices.DeleteFunc(all, func(r DropRow) bool { return r.Reason == "link-scope" })
}

// counted is how many packets were dropped for a reason.
func (d *traced) counted(t *testing.T, tenant, where, reason string) (n uint64) {
	t.Helper()
	all, err := d.Drops(t.Context())
	must(t, err)
	for _, drop := range all {
		if drop.Tenant == tenant && drop.Where == where && drop.Reason == reason {
			n += drop.Packets
		}
	}
	return n
}

// declareText is what these documents declare.
func declareText(t *testing.T, documents ...string) *configs.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "all.yaml")
	must(t, os.WriteFile(path, []byte(strings.Join(documents, "---\n")), 0o600))
	cfg, err := configs.Load(path)
	must(t, err)
	return cfg
}

const (
	interfaceMAC = "60:01:60:01:03:01"
	routersMAC   = "60:01:60:01:03:99"
)

// What a trace says of a packet must be what becomes of that packet when it is sent.
func TestTraceIsWhatBecomesOfThePacket(t *testing.T) {
	for _, mode := range []struct {
		name, yaml string
		cases      []tracedCase
	}{
		{"hosts route", tracedYAML, []tracedCase{
			{name: "out by NAT", from: "10.0.0.10", to: "65.10.10.100", verdict: VerdictDelivered},
			{name: "private destination", from: "10.0.0.10", to: "192.168.7.7", verdict: VerdictRefused, where: "nat",
				reason: "private-destination"},
			{name: "unreachable site", from: "10.0.0.10", to: "10.1.0.5", verdict: VerdictRefused,
				where: "routing", reason: "unreachable"},
			{name: "to the compartment", from: "10.0.0.10", to: "10.0.254.2", verdict: VerdictDelivered, self: true},
			{name: "to another VM", from: "10.0.0.10", to: "10.0.3.10", verdict: VerdictDelivered},
			{name: "no record", from: "10.0.0.10", to: "10.0.3.99", verdict: VerdictDropped, where: "door1", reason: "no-record"},
			{name: "unlisted host", from: "10.0.0.10", to: "65.10.10.100", pa: "192.168.0.99", verdict: VerdictDropped,
				where: "door1", reason: "unlisted-provider"},
			{name: "unknown VSID", from: "10.0.0.10", to: "65.10.10.100", vsid: 7777, verdict: VerdictDropped, where: "door1",
				reason: "unknown-vsid"},
			{name: "the other tenant's VSID", from: "10.0.0.11", to: "65.10.10.100", pa: "192.168.0.33", vsid: 6002,
				verdict: VerdictDropped, where: "door1", reason: "unlisted-provider"},
			{name: "own packet to the Internet", from: "10.0.254.2", to: "65.10.10.100", verdict: VerdictDelivered},
			{name: "own packet to a VM", from: "10.0.254.2", to: "10.0.0.10", verdict: VerdictDelivered},
			{name: "mapped", from: "65.10.10.100", to: "131.107.10.12", dport: 53, verdict: VerdictDelivered, arrives: 5353},
			{name: "not mapped", from: "65.10.10.100", to: "131.107.10.12", verdict: VerdictDropped, where: "nat",
				reason: "from-internet"},
			{name: "nobody's address", from: "65.10.10.100", to: "131.107.10.15", verdict: VerdictDropped, where: "door2",
				reason: "unowned-address"},
			{name: "inside source from the Internet", from: "10.0.0.10", to: "131.107.10.12", by: "ext",
				verdict: VerdictDropped, where: "compartment", reason: "spoofed-source"},
			{name: "private source from the Internet", from: "192.168.7.7", to: "131.107.10.12", by: "ext",
				verdict: VerdictDropped, where: "nat", reason: "private-source"},
			{name: "to the other tenant's public address", from: "10.0.0.10", to: "131.107.10.13", verdict: VerdictDropped,
				where: "nat", reason: "from-internet"},
		}},
		{"external router", tracedYAML + routerYAML, []tracedCase{
			{name: "hairpin", from: "10.0.0.10", to: "10.0.3.10", mac: routersMAC, vsid: 5001, verdict: VerdictDelivered},
			{name: "no record", from: "10.0.0.10", to: "10.0.3.99", mac: routersMAC, vsid: 5001, verdict: VerdictDropped,
				where: "door1", reason: "no-record"},
			{name: "out by NAT", from: "10.0.0.10", to: "65.10.10.100", mac: routersMAC, vsid: 5001, verdict: VerdictDelivered},
		}},
		{"filters", tracedYAML + filteredYAML, filteredCases},
		{"filters and external router", tracedYAML + routerYAML + filteredYAML, []tracedCase{
			{name: "hairpin", from: "10.0.0.10", to: "10.0.3.10", mac: routersMAC, vsid: 5001, verdict: VerdictDelivered},
			{name: "hairpin, forbidden", from: "10.0.0.10", to: "10.0.3.11", mac: routersMAC, vsid: 5001,
				verdict: VerdictDropped, where: "filter", reason: "forbidden", says: "the outbound filter of IfCi1"},
		}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			d := newTraced(t, mode.yaml)
			ns := d.compartment(t, "Contoso")
			h, err := ns.Netlink(unix.NETLINK_ROUTE)
			must(t, err)
			defer h.Close()
			// What a site's fallback is, which this kernel has no xfrm links for.
			_, site, err := net.ParseCIDR("10.1.0.0/24")
			must(t, err)
			must(t, h.RouteAdd(&netlink.Route{Dst: site, Type: unix.RTN_UNREACHABLE, Priority: 7}))
			for i, c := range mode.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, d, uint16(7001+i)) })
			}
		})
	}
}

type tracedCase struct {
	name, from, to string
	// As other than the host of from sends it.
	pa, mac, by string
	vsid        uint32
	dport       uint16
	// What a trace must say. Where the packet arrives is what the cables say.
	verdict       Verdict
	where, reason string
	self          bool
	arrives       uint16 // at this port, where the destination is translated
	says          string // how the trace ends, in part
}

func (c tracedCase) run(t *testing.T, d *traced, port uint16) {
	r := TraceRequest{
		Tenant: "Contoso", From: netip.MustParseAddr(c.from), To: netip.MustParseAddr(c.to), Protocol: "udp",
		SourcePort: port + 1000, DestinationPort: port, Interface: c.by,
	}
	if c.dport != 0 {
		r.DestinationPort = c.dport
	}
	if c.mac == "" {
		r.VSID = c.vsid
	}
	if c.pa != "" {
		r.ProviderAddress = netip.MustParseAddr(c.pa)
	}
	dropsBefore := d.allCounted(t)
	traced, err := d.Trace(t.Context(), r)
	must(t, err)
	for _, s := range traced.Steps {
		t.Logf("%-20s %-50s %s", s.Where, s.Packet, s.Text)
	}
	if traced.Verdict != c.verdict || traced.Where != c.where || traced.Reason != c.reason {
		t.Errorf("verdict %s at %q: %q; want %s at %q: %q", traced.Verdict, traced.Where, traced.Reason, c.verdict, c.where,
			c.reason)
	}
	if !strings.Contains(traced.Text, c.says) {
		t.Errorf("it ends with %q, want it to say %q", traced.Text, c.says)
	}
	if dropsAfter := d.allCounted(t); !slices.Equal(dropsBefore, dropsAfter) {
		t.Errorf("the trace moved counters from %+v to %+v", dropsBefore, dropsAfter)
	}
	before := d.counted(t, traced.Tenant, c.where, c.reason)
	c.send(t, d, r)
	switch {
	case c.self:
	case c.verdict == VerdictDelivered:
		cable := d.internet
		if strings.Contains(traced.Text, "host") {
			cable = d.backend
		}
		if c.arrives != 0 {
			port = c.arrives
		}
		seen := cable.receive(t, port)
		last := traced.Steps[len(traced.Steps)-1]
		packet, host, _ := strings.Cut(seen, " to the host")
		if packet != last.Packet || !strings.Contains(last.Text, host) {
			t.Errorf("it arrives as %q, traced as %q: %q", seen, last.Packet, last.Text)
		}
	case !strings.HasPrefix(c.where, "routing"):
		testenv.Eventually(t, "the packet is counted as the trace says", func() bool {
			return d.counted(t, traced.Tenant, c.where, c.reason) == before+1
		})
	default:
		if seen := d.backend.receive(t, port); seen != "refused" {
			t.Errorf("the sender sees %q, want an ICMP error", seen)
		}
	}
}

func (c tracedCase) send(t *testing.T, d *traced, r TraceRequest) {
	t.Helper()
	pa, mac, vsid := c.pa, c.mac, c.vsid
	if pa == "" {
		pa = "192.168.0.22"
	}
	if mac == "" {
		mac = interfaceMAC
	}
	if vsid == 0 {
		vsid = 6001
	}
	switch {
	case strings.HasPrefix(c.from, "65."), c.by != "":
		d.sendFromInternet(t, r)
	case c.from == "10.0.254.2":
		must(t, d.compartment(t, "Contoso").Do(func() error {
			dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.From, r.SourcePort))}
			conn, err := dialer.Dial("udp4", netip.AddrPortFrom(r.To, r.DestinationPort).String())
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("traced"))
			if c.verdict == VerdictDropped && errors.Is(err, unix.EPERM) {
				return nil // A filter tells the sender in its own namespace.
			}
			return err
		}))
	case c.self:
		var ear net.PacketConn
		must(t, d.compartment(t, "Contoso").Do(func() (err error) {
			ear, err = net.ListenPacket("udp4", netip.AddrPortFrom(r.To, r.DestinationPort).String())
			return err
		}))
		defer ear.Close()
		d.sendAsHost(t, r, pa, mac, vsid)
		must(t, ear.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, _, err := ear.ReadFrom(make([]byte, 64))
		must(t, err)
	default:
		d.sendAsHost(t, r, pa, mac, vsid)
	}
}
