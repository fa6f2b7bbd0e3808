package configs

import "net/netip"

// packet is what a filter knows of a packet.
type packet struct {
	source, destination         netip.Addr
	protocol                    uint8
	sourcePort, destinationPort uint16
}

// passes tells whether a packet passes; all do where there is no filter.
func (f *Filter) passes(p packet) bool {
	if f == nil || !f.governs(p.source.Is4()) {
		return true
	}
	for _, r := range f.List {
		if r.matches(p) {
			return f.Action == FilterDeny
		}
	}
	return f.Action == FilterAllow
}

// passesAnswer tells whether the answer to a packet passes.
func (f *Filter) passesAnswer(p packet) bool {
	return f != nil && f.Established == EstablishedAllow ||
		f.passes(packet{p.destination, p.source, p.protocol, p.destinationPort, p.sourcePort})
}

// governs tells whether a filter concerns an address family: one that occurs in its list, where a rule without family is of
// both, and so is an empty list.
func (f *Filter) governs(four bool) bool {
	for _, r := range f.List {
		if is, known := r.family(); !known || is == four {
			return true
		}
	}
	return len(f.List) == 0
}

// family tells whether a rule is of IPv4, if it is of one family only.
func (r FilterRule) family() (four, known bool) {
	switch {
	case r.Source.IsValid():
		return r.Source.Addr().Is4(), true
	case r.Destination.IsValid():
		return r.Destination.Addr().Is4(), true
	}
	return r.Protocol == ProtocolICMP, r.Protocol == ProtocolICMP || r.Protocol == ProtocolICMPv6
}

// matches tells whether a rule names a packet of TCP or UDP.
func (r FilterRule) matches(p packet) bool {
	return (!r.Source.IsValid() || r.Source.Contains(p.source)) &&
		(!r.Destination.IsValid() || r.Destination.Contains(p.destination)) &&
		(r.Protocol == ProtocolAny || r.Protocol == p.protocol) &&
		r.SourcePorts.Contains(p.sourcePort) && r.DestinationPorts.Contains(p.destinationPort)
}
