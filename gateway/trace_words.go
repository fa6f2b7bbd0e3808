package gateway

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"bulkhead/compartments"
	"bulkhead/dataplane"
	"bulkhead/nat"
)

// words are the packet as people write it.
func words(p dataplane.Probe) string {
	if p.Echo() {
		return fmt.Sprintf("icmp echo %d %v > %v", p.SourcePort, p.From, p.To)
	}
	name := "tcp"
	if p.Protocol == unix.IPPROTO_UDP {
		name = "udp"
	}
	return fmt.Sprintf("%s %v > %v", name, netip.AddrPortFrom(p.From, p.SourcePort),
		netip.AddrPortFrom(p.To, p.DestinationPort))
}

// routeWords say which route counted.
func routeWords(r compartments.RouteState) string {
	if !r.Prefix.IsValid() {
		return "as no route leads there"
	}
	kind := ""
	if r.Unreachable {
		kind = "unreachable "
	}
	return fmt.Sprintf("by the %sroute to %v (%s, metric %d)", kind, r.Prefix, r.Protocol, r.Metric)
}

// publicSource is the source that NAT gives to a packet.
func publicSource(w nat.Passage) string {
	if w.LastPort != 0 {
		return fmt.Sprintf("%v, a port of %d-%d", w.Source.Addr(), w.FirstPort, w.LastPort)
	}
	return w.Source.String()
}

// ofSession says that a translation is that of a session that stands.
func ofSession(w nat.Passage) string {
	if w.Session == nil {
		return ""
	}
	return fmt.Sprintf(", of the session from %v to %v (%s)", w.Session.Source, w.Session.Destination, w.Session.State)
}
