package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	hopLimitOffset = 7   // in an IPv6 header: RFC 8200, section 3
	fullHopLimit   = 255 // of a packet that no router has passed on
)

// FamilyOf is the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// SourceWithin matches packets with a source in the prefix.
func SourceWithin(p netip.Prefix) []expr.Any {
	return addressWithin(p, FamilyOf(p.Addr()).LoadSource(reg1))
}

// DestinationWithin matches packets with a destination in the prefix.
func DestinationWithin(p netip.Prefix) []expr.Any {
	return addressWithin(p, FamilyOf(p.Addr()).LoadDestination(reg1))
}

func addressWithin(p netip.Prefix, load expr.Any) []expr.Any {
	p = p.Masked()
	size := uint32(p.Addr().BitLen() / 8)
	mask := make([]byte, size)
	for bit := range p.Bits() {
		mask[bit/8] |= 0x80 >> (bit % 8)
	}
	return append(FamilyOf(p.Addr()).Is(), load,
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: p.Addr().AsSlice()},
	)
}

// SourcePorts matches packets with a source port from first to last. It must follow a match of a protocol with ports.
func SourcePorts(first, last uint16) []expr.Any { return portsAt(0, first, last) }

// DestinationPorts matches packets with a destination port from first to last. It must follow a match of a protocol with
// ports.
func DestinationPorts(first, last uint16) []expr.Any { return portsAt(2, first, last) }

func portsAt(offset uint32, first, last uint16) []expr.Any {
	load := &expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
	from, to := binary.BigEndian.AppendUint16(nil, first), binary.BigEndian.AppendUint16(nil, last)
	if first == last { // nft(8) would show it as a range.
		return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: from}}
	}
	return []expr.Any{load, &expr.Range{Op: expr.CmpOpEq, Register: reg1, FromData: from, ToData: to}}
}

// ICMP matches messages of a type and code. It must follow a match of ICMP or ICMPv6.
func ICMP(typ, code byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{typ, code}},
	}
}

// NeighbourDiscovery matches its messages (types 133 to 137: RFC 4861, section 4), from a node on the link: only that
// can have sent one with a hop limit of 255.
func NeighbourDiscovery() []expr.Any {
	return Join(IPv6.Is(), Protocol(unix.IPPROTO_ICMPV6), []expr.Any{
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: reg1, FromData: []byte{133}, ToData: []byte{137}},
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: hopLimitOffset, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{fullHopLimit}},
	})
}

// Defragment has the kernel put fragments together before prerouting and output, for as long as a rule with it stands. It
// belongs into a chain that no packet meets: it is the expression of a transparent proxy, which needs whole packets too.
// That of a connection's state would do the same, but track the connection of every packet, stateless filters or not.
func Defragment() []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg1, Data: []byte{0, 0}},
		&expr.TProxy{Family: unix.NFPROTO_UNSPEC, RegPort: reg1},
	}
}

// ToUs matches packets to an address of the namespace itself.
func ToUs() []expr.Any { return addressType(unix.RTN_LOCAL) }

// ToGroup matches packets to a multicast group.
func ToGroup() []expr.Any { return addressType(unix.RTN_MULTICAST) }

func addressType(kind uint32) []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: reg1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: binaryutil.NativeEndian.PutUint32(kind)},
	}
}

// Reply matches packets of the direction of a connection that answers its first packet.
func Reply() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{1}},
	}
}
