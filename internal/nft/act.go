package nft

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// icmpxAdminProhibited is "administratively prohibited" of either family: type 3 code 13 of ICMP (RFC 1812, 5.2.7.1)
	// and type 1 code 1 of ICMPv6 (RFC 4443, 3.1).
	icmpxAdminProhibited = 3

	tcpFlagsOffset = 13
	tcpSYN         = 0x02
	tcpRST         = 0x04
	tcpOptionMSS   = 2
	mssOffset      = 2
)

// Drop drops the packet in silence.
func Drop() []expr.Any { return verdict(expr.VerdictDrop, "") }

// Return leaves the chain.
func Return() []expr.Any { return verdict(expr.VerdictReturn, "") }

// Jump goes through another chain and comes back.
func Jump(chain string) []expr.Any { return verdict(expr.VerdictJump, chain) }

// Goto goes through another chain and does not come back.
func Goto(chain string) []expr.Any { return verdict(expr.VerdictGoto, chain) }

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

// Count counts the packet with a named counter of the table.
func Count(counter string) []expr.Any {
	return []expr.Any{&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: counter}}
}

// DropAs counts the packet under a reason and drops it.
func DropAs(counter string) []expr.Any { return append(Count(counter), Drop()...) }

// RejectAs counts the packet under a reason, drops it and tells its sender so with an ICMP error. The hooks input,
// forward and output can do this.
func RejectAs(counter string) []expr.Any {
	return append(Count(counter), &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: icmpxAdminProhibited})
}

// ClampMSS lowers the maximum segment size that a TCP SYN announces to what fits the path both ways, as the routes
// know it; it never raises it. It belongs into a forward chain.
func ClampMSS() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlagsOffset, Len: 1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 1, Mask: []byte{tcpSYN | tcpRST}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{tcpSYN}},
		&expr.Rt{Register: reg1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: reg1, DestRegister: reg1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{
			SourceRegister: reg1, Op: expr.ExthdrOpTcpopt, Type: tcpOptionMSS, Offset: mssOffset, Len: 2,
		},
	}
}
