package rawpeer

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// Flags of attributes (RFC 4271, 4.3): well-known, optional, and optional transitive.
const (
	WellKnown  byte = 0x40
	Optional   byte = 0x80
	Transitive byte = 0xc0
)

// Message frames body as a message of that type, whatever its length (RFC 4271, 4.1).
func Message(kind uint8, body []byte) []byte {
	b := bytes.Repeat([]byte{0xff}, 16)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)+bgp.BGP_HEADER_LENGTH))
	return append(append(b, kind), body...)
}

// Keepalive is a whole KEEPALIVE.
func Keepalive() []byte { return Message(bgp.BGP_MSG_KEEPALIVE, nil) }

// Refresh is a whole ROUTE-REFRESH (RFC 2918).
func Refresh(family bgp.Family) []byte {
	b := binary.BigEndian.AppendUint16(nil, family.Afi())
	return Message(bgp.BGP_MSG_ROUTE_REFRESH, append(b, 0, family.Safi()))
}

// Notify is a whole NOTIFICATION.
func Notify(code, subcode uint8) []byte {
	return Message(bgp.BGP_MSG_NOTIFICATION, []byte{code, subcode})
}

// Open is the peer's whole OPEN.
func (o Options) Open() []byte {
	var caps []bgp.ParameterCapabilityInterface
	for _, f := range o.Families {
		caps = append(caps, bgp.NewCapMultiProtocol(f))
	}
	caps = append(caps, bgp.NewCapRouteRefresh())
	asn := o.ASN
	if asn > 0xffff {
		asn = bgp.AS_TRANS
	}
	if !o.OldASN {
		caps = append(caps, bgp.NewCapFourOctetASNumber(o.ASN))
	}
	param, _ := bgp.NewOptionParameterCapability(append(caps, o.Capabilities...)).Serialize()
	b := binary.BigEndian.AppendUint16([]byte{4}, uint16(asn))
	b = binary.BigEndian.AppendUint16(b, o.HoldTime)
	b = append(append(b, o.Identifier.AsSlice()...), byte(len(param)))
	return Message(bgp.BGP_MSG_OPEN, append(b, param...))
}

// Update is a whole UPDATE of those parts, as they are.
func Update(withdrawn []netip.Prefix, attributes [][]byte, prefixes ...netip.Prefix) []byte {
	gone, path := Prefixes(withdrawn...), bytes.Join(attributes, nil)
	b := binary.BigEndian.AppendUint16(nil, uint16(len(gone)))
	b = append(b, gone...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(path)))
	b = append(append(b, path...), Prefixes(prefixes...)...)
	return Message(bgp.BGP_MSG_UPDATE, b)
}

// EndOfRIB is a whole End-of-RIB of IPv4 (RFC 4724, 2).
func EndOfRIB() []byte { return Update(nil, nil) }

// Prefixes are encoded as in NLRI (RFC 4271, 4.3).
func Prefixes(prefixes ...netip.Prefix) []byte {
	var b []byte
	for _, p := range prefixes {
		b = append(b, byte(p.Bits()))
		b = append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b
}

// Attribute frames a path attribute, with an extended length where it needs one.
func Attribute(flags byte, kind bgp.BGPAttrType, value []byte) []byte {
	if len(value) > 255 {
		b := binary.BigEndian.AppendUint16([]byte{flags | 0x10, byte(kind)}, uint16(len(value)))
		return append(b, value...)
	}
	return append([]byte{flags, byte(kind), byte(len(value))}, value...)
}

// Origin is the attribute ORIGIN.
func Origin(v byte) []byte { return Attribute(WellKnown, bgp.BGP_ATTR_TYPE_ORIGIN, []byte{v}) }

// ASPath is the attribute AS_PATH of one sequence for each 255 numbers, of 4 bytes each.
func ASPath(numbers ...uint32) []byte {
	var b []byte
	for len(numbers) > 0 {
		n := min(len(numbers), 255)
		b = append(b, bgp.BGP_ASPATH_ATTR_TYPE_SEQ, byte(n))
		b = append(b, Words(numbers[:n]...)...)
		numbers = numbers[n:]
	}
	return Attribute(WellKnown, bgp.BGP_ATTR_TYPE_AS_PATH, b)
}

// NextHop is the attribute NEXT_HOP.
func NextHop(addr netip.Addr) []byte {
	return Attribute(WellKnown, bgp.BGP_ATTR_TYPE_NEXT_HOP, addr.AsSlice())
}

// Path are the three mandatory attributes of a route by next hop through those systems.
func Path(nextHop netip.Addr, numbers ...uint32) [][]byte {
	return [][]byte{Origin(0), ASPath(numbers...), NextHop(nextHop)}
}

// Communities is the attribute of that name (RFC 1997).
func Communities(values ...uint32) []byte {
	return Attribute(Transitive, bgp.BGP_ATTR_TYPE_COMMUNITIES, Words(values...))
}

// Reach is the attribute MP_REACH_NLRI (RFC 4760, 3).
func Reach(family bgp.Family, nextHop netip.Addr, prefixes ...netip.Prefix) []byte {
	b := binary.BigEndian.AppendUint16(nil, family.Afi())
	b = append(b, family.Safi(), byte(nextHop.BitLen()/8))
	b = append(append(b, nextHop.AsSlice()...), 0)
	return Attribute(Optional, bgp.BGP_ATTR_TYPE_MP_REACH_NLRI, append(b, Prefixes(prefixes...)...))
}

// Unreach is the attribute MP_UNREACH_NLRI (RFC 4760, 4).
func Unreach(family bgp.Family, prefixes ...netip.Prefix) []byte {
	b := binary.BigEndian.AppendUint16(nil, family.Afi())
	return Attribute(Optional, bgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI, append(append(b, family.Safi()), Prefixes(prefixes...)...))
}

// Words are numbers of 4 bytes each.
func Words(values ...uint32) []byte {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}
