package filters_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"bulkhead/filters"
)

func prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

// rule is named by what it says.
func rule(text, source, destination string, protocol uint8, more ...func(*filters.Rule)) filters.Rule {
	r := filters.Rule{Text: text, Source: prefix(source), Destination: prefix(destination), Protocol: protocol}
	for _, f := range more {
		f(&r)
	}
	return r
}

func sourcePorts(first, last uint16) func(*filters.Rule) {
	return func(r *filters.Rule) { r.SourcePorts = filters.Ports{First: first, Last: last} }
}

func destinationPorts(first, last uint16) func(*filters.Rule) {
	return func(r *filters.Rule) { r.DestinationPorts = filters.Ports{First: first, Last: last} }
}

func icmpType(typ, code uint8) func(*filters.Rule) {
	return func(r *filters.Rule) { r.ICMP = &filters.ICMP{Type: typ, Code: code} }
}

// A rule names the same packets, in the kernel and to [filters.Judge], whether its list says what passes or what is
// dropped; what no rule names fares the other way, but for the address families that the list does not govern.
func TestARuleNamesThePacketsItSays(t *testing.T) {
	const four, six = "10.1.0.10 10.0.0.10", "fd01::10 fd00::10"
	n := newNetwork(t)
	for _, c := range []struct {
		name           string
		rule           filters.Rule
		named, unnamed []probe
		ungoverned     []probe
	}{
		{
			name: "everything", rule: rule("any:any:any", "", "", 0),
			named: []probe{{four, tcp(1, 2, "SYN")}, {six, udp(1, 2)}, {four, esp()}, {six, icmp6(128, 0)}},
		},
		{
			name: "source", rule: rule("10.1.0.0/28:any:any", "10.1.0.0/28", "", 0),
			named:      []probe{{four, udp(1, 2)}, {"10.1.0.15 10.0.0.10", udp(1, 2)}, {"10.1.0.0 10.0.0.10", udp(1, 2)}},
			unnamed:    []probe{{"10.1.0.16 10.0.0.10", udp(1, 2)}, {"10.0.255.255 10.0.0.10", udp(1, 2)}},
			ungoverned: []probe{{six, udp(1, 2)}},
		},
		{
			name: "an odd destination in IPv6", rule: rule("any:[fd00::10/125]:any", "", "fd00::10/125", 0),
			named:      []probe{{six, tcp(1, 2, "SYN")}},
			unnamed:    []probe{{"fd01::10 fd00::f", udp(1, 2)}, {"fd01::10 fd00::18", udp(1, 2)}},
			ungoverned: []probe{{four, udp(1, 2)}},
		},
		{
			name: "destination port", rule: rule("any:10.0.0.0/16:TCP:0:443", "", "10.0.0.0/16", 6, destinationPorts(443, 443)),
			named: []probe{{four, tcp(1234, 443, "SYN")}, {four, tcp(1234, 443, "ACK")}},
			unnamed: []probe{
				{four, tcp(443, 1234, "SYN")}, {four, udp(1234, 443)}, {four, icmp(8, 0)}, {four, tcp(1, 444, "SYN")},
				{four, tcp(1, 442, "SYN")},
			},
			ungoverned: []probe{{six, tcp(1234, 443, "SYN")}},
		},
		{
			name: "port ranges of both families",
			rule: rule("any:any:UDP:1000-2000:300-65535", "", "", 17, sourcePorts(1000, 2000), destinationPorts(300, 65535)),
			named: []probe{
				{four, udp(1000, 300)}, {four, udp(2000, 65535)}, {six, udp(1500, 5000)},
			},
			unnamed: []probe{
				{four, udp(999, 300)}, {four, udp(2001, 300)}, {six, udp(1500, 299)}, {four, tcp(1000, 300, "SYN")},
			},
		},
		{
			name: "ping", rule: rule("any:any:ICMP:8:0", "", "", 1, icmpType(8, 0)),
			named:      []probe{{four, icmp(8, 0)}},
			unnamed:    []probe{{four, icmp(13, 0)}, {four, icmp(8, 1)}, {four, udp(8, 0)}},
			ungoverned: []probe{{six, icmp6(128, 0)}},
		},
		{
			name: "ICMPv6 of a type", rule: rule("any:any:ICMPv6:1:4", "", "", 58, icmpType(1, 4)),
			named:      []probe{{six, icmp6(1, 4)}},
			unnamed:    []probe{{six, icmp6(1, 0)}, {six, icmp6(4, 1)}, {six, tcp(1, 2, "SYN")}},
			ungoverned: []probe{{four, icmp(8, 0)}},
		},
		{
			name: "any ICMP", rule: rule("any:any:ICMP", "", "", 1),
			named:      []probe{{four, icmp(8, 0)}, {four, icmp(13, 0)}},
			unnamed:    []probe{{four, udp(1, 2)}},
			ungoverned: []probe{{six, icmp6(128, 0)}},
		},
		{
			name: "a protocol by number", rule: rule("10.1.0.10/32:10.0.0.10/32:ESP", "10.1.0.10/32", "10.0.0.10/32", 50),
			named:   []probe{{four, esp()}},
			unnamed: []probe{{four, udp(1, 2)}, {"10.1.0.11 10.0.0.10", esp()}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, arriving := range []bool{true, false} {
				for _, pass := range []bool{true, false} {
					f := filters.Filter{Link: "IfCe1", Arriving: true, Pass: pass, Rules: []filters.Rule{c.rule}}
					if !arriving {
						f.Link, f.Arriving = "IfCi1", false
					}
					set(t, n, f)
					named, unnamed := "passed", "not-allowed"
					if pass {
						named, unnamed = "forbidden", "passed"
					}
					n.want(t, f, named, c.named)
					n.want(t, f, unnamed, c.unnamed)
					n.want(t, f, "passed", c.ungoverned)
				}
			}
		})
	}
}

// probe is a packet, from the site where its source is there.
type probe struct {
	addresses string // source and destination
	transport
}

func (n *network) want(t *testing.T, f filters.Filter, fate string, all []probe) {
	t.Helper()
	for _, p := range all {
		if got := n.try(t, p); got != fate {
			t.Errorf("filter %+v: %v %v: %s, want %s", f, p.addresses, p.protocol, got, fate)
		}
		judged := filters.Judge([]filters.Filter{f}, f.Link, f.Arriving, p.judged())
		if judged.Pass != (fate == "passed") || !judged.Pass && judged.Reason != fate {
			t.Errorf("filter %+v: %v %v is judged %+v, and is %s", f, p.addresses, p.protocol, judged, fate)
		}
	}
}

// judged is the probe as a filter sees it.
func (p probe) judged() filters.Packet {
	source, destination, _ := strings.Cut(p.addresses, " ")
	packet := filters.Packet{
		Source: netip.MustParseAddr(source), Destination: netip.MustParseAddr(destination), Protocol: uint8(p.protocol),
	}
	switch l := p.layer.(type) {
	case *layers.TCP:
		packet.SourcePort, packet.DestinationPort = uint16(l.SrcPort), uint16(l.DstPort)
	case *layers.UDP:
		packet.SourcePort, packet.DestinationPort = uint16(l.SrcPort), uint16(l.DstPort)
	case *layers.ICMPv4:
		packet.ICMP = filters.ICMP{Type: l.TypeCode.Type(), Code: l.TypeCode.Code()}
	case *layers.ICMPv6:
		packet.ICMP = filters.ICMP{Type: l.TypeCode.Type(), Code: l.TypeCode.Code()}
	}
	return packet
}

// try sends a probe from where its source lives, and says what became of it.
func (n *network) try(t *testing.T, p probe) string {
	t.Helper()
	source, destination, _ := strings.Cut(p.addresses, " ")
	from := n.vm
	if a := netip.MustParseAddr(source); prefix("10.1.0.0/16").Contains(a) || prefix("fd01::/16").Contains(a) ||
		source == "10.0.255.255" {
		from = n.site
	}
	token := n.token()
	return n.fate(t, from, token, build(t, source, destination, p.transport, token))
}
