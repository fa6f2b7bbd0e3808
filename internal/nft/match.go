package nft

import (
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers of the virtual machine. The first sixteen octets can also be used as four of four octets each, which is how
// a concatenated key is put together.
const (
	reg1 = unix.NFT_REG_1
	// Register32 is the first of the four-octet registers; the next ones follow it by number.
	Register32 = unix.NFT_REG32_00
)

// Bits of `ct state`.
const (
	Invalid     = expr.CtStateBitINVALID
	Established = expr.CtStateBitESTABLISHED
	Related     = expr.CtStateBitRELATED
	New         = expr.CtStateBitNEW
)

// Bits of `ct status`: the connection's source, or its destination, was translated.
const (
	SourceTranslated      = 1 << 4
	DestinationTranslated = 1 << 5
)

// Family of the network layer, as `meta nfproto` gives it.
type Family byte

// The families that a table of family inet sees.
const (
	IPv4 Family = unix.NFPROTO_IPV4
	IPv6 Family = unix.NFPROTO_IPV6
)

// Join makes a rule of its parts, in order.
func Join(parts ...[]expr.Any) Rule { return slices.Concat(parts...) }

// From matches packets that arrived on the link of this name.
func From(link string) []expr.Any { return linkName(expr.MetaKeyIIFNAME, expr.CmpOpEq, link) }

// NotFrom matches packets that arrived on any other link, or were made here.
func NotFrom(link string) []expr.Any { return linkName(expr.MetaKeyIIFNAME, expr.CmpOpNeq, link) }

// To matches packets that leave by the link of this name.
func To(link string) []expr.Any { return linkName(expr.MetaKeyOIFNAME, expr.CmpOpEq, link) }

// FromAny matches packets that arrived on a link named in the set.
func FromAny(set string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1},
		&expr.Lookup{SourceRegister: reg1, SetName: set},
	}
}

// FromVerdict goes where a map of [Chains] sends what arrived on the packet's link; it goes on where the map has none.
func FromVerdict(chains string) []expr.Any { return verdictOf(expr.MetaKeyIIFNAME, chains) }

// ToVerdict goes where a map of [Chains] sends what leaves by the packet's link; it goes on where the map has none.
func ToVerdict(chains string) []expr.Any { return verdictOf(expr.MetaKeyOIFNAME, chains) }

func verdictOf(key expr.MetaKey, chains string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: reg1},
		&expr.Lookup{SourceRegister: reg1, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: chains},
	}
}

func linkName(key expr.MetaKey, op expr.CmpOp, link string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: reg1},
		&expr.Cmp{Op: op, Register: reg1, Data: interfaceName(link)},
	}
}

// interfaceName is a link's name as the kernel compares it: padded with zeros to IFNAMSIZ.
func interfaceName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// Is matches packets of the family. It must precede everything that reads a network header.
func (f Family) Is() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{byte(f)}},
	}
}

// LoadSource loads the source address into a register.
func (f Family) LoadSource(register uint32) expr.Any {
	if f == IPv4 {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	}
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}
}

// LoadDestination loads the destination address into a register.
func (f Family) LoadDestination(register uint32) expr.Any {
	if f == IPv4 {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	}
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16}
}

// SourceIn matches packets of the family with a source in the set.
func (f Family) SourceIn(set string) []expr.Any { return f.inSet(f.LoadSource(reg1), set, false) }

// SourceNotIn matches packets of the family with a source that is not in the set.
func (f Family) SourceNotIn(set string) []expr.Any { return f.inSet(f.LoadSource(reg1), set, true) }

// DestinationIn matches packets of the family with a destination in the set.
func (f Family) DestinationIn(set string) []expr.Any {
	return f.inSet(f.LoadDestination(reg1), set, false)
}

func (f Family) inSet(load expr.Any, set string, invert bool) []expr.Any {
	return append(f.Is(), load, &expr.Lookup{SourceRegister: reg1, SetName: set, Invert: invert})
}

// ProtocolIn matches packets of a transport protocol in the set.
func ProtocolIn(set string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		&expr.Lookup{SourceRegister: reg1, SetName: set},
	}
}

// Protocol matches packets of a transport protocol.
func Protocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{number}},
	}
}

// State matches packets whose connection tracking state is one of the bits.
func State(bits uint32) []expr.Any { return connection(expr.CtKeySTATE, bits) }

// Status matches packets of connections that have one of the status bits.
func Status(bits uint32) []expr.Any { return connection(expr.CtKeySTATUS, bits) }

func connection(key expr.CtKey, bits uint32) []expr.Any {
	none := binaryutil.NativeEndian.PutUint32(0)
	return []expr.Any{
		&expr.Ct{Key: key, Register: reg1},
		&expr.Bitwise{
			SourceRegister: reg1, DestRegister: reg1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: none,
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: none},
	}
}
